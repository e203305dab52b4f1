"use strict";
// Curves over the last minute, and the numbers of the moment; everything comes as events.

const SPAN_S = 60;
const KEPT = 6000;
const SAMPLE_S = 0.1;
// Rates over longer times than this are shown as means, or nobody could read them.
const RAW_S = 10, MEAN_S = 1;
// A link this much wider than the video's own rates is cut off at the top.
const CUT = 5;
const byId = (id) => document.getElementById(id);
const samples = [];
let heading = null;
let over = false;

// --- numbers as words ---------------------------------------------------------------------------

const rounded = (value, digits = 0) => (value === null ? "–" : value.toFixed(digits));

function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  const rest = (seconds - 60 * minutes).toFixed(1);
  return minutes ? `${minutes}:${rest.padStart(4, "0")}` : `${rest} s`;
}

function put(id, text) {
  const node = byId(id);
  if (node.textContent !== text) node.textContent = text;
}

function badge(state, text) {
  byId("badge").dataset.state = state;
  put("badge", text);
}

// --- charts -------------------------------------------------------------------------------------

// Round steps of 1, 2 or 5, at most `most` (>= 3) of them below `top`, and at least one.
function ticks(top, most) {
  const rough = top / Math.max(3, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const found = [];
  for (let value = 0; value <= top * 1.0001; value += step) found.push(value);
  return found;
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  return new Proxy({}, { get: (_, name) => style.getPropertyValue(`--${name}`).trim() });
}

class Chart {
  constructor(id) {
    this.canvas = byId(id);
    this.context = this.canvas.getContext("2d");
    new ResizeObserver(() => draw()).observe(this.canvas);
  }

  // Axes and grid; afterwards x() and y() give places.
  begin(top, from, to) {
    const { canvas, context } = this;
    const scale = window.devicePixelRatio || 1;
    this.width = canvas.clientWidth;
    this.height = canvas.clientHeight;
    const wanted = [Math.round(this.width * scale), Math.round(this.height * scale)];
    if (canvas.width !== wanted[0] || canvas.height !== wanted[1]) [canvas.width, canvas.height] = wanted;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    this.paint = colours();
    Object.assign(this, { left: 42, right: this.width - 8, up: 6, down: this.height - 18, top, from, to });
    context.font = "11px system-ui, 'DejaVu Sans', sans-serif";
    context.lineWidth = 1;
    this.grid();
  }

  grid() {
    const { context, paint } = this;
    context.fillStyle = paint.soft;
    context.strokeStyle = paint.grid;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const value of ticks(this.top, Math.max(4, Math.floor(this.height / 30)))) {
      const y = Math.round(this.y(value)) + 0.5;
      this.rule(this.left, y, this.right, y);
      context.fillText(String(+value.toPrecision(6)), this.left - 6, y);
    }
    context.textAlign = "center";
    context.textBaseline = "top";
    const step = ticks(this.to - this.from, Math.max(2, Math.floor(this.width / 90)))[1];
    for (let t = Math.ceil(this.from / step) * step; t <= this.to + 1e-6; t += step) {
      const x = Math.round(this.x(t)) + 0.5;
      context.fillRect(x - 0.5, this.down, 1, 4);
      const last = t + step > this.to + 1e-6;
      const label = last ? `${+t.toFixed(2)} s` : String(+t.toFixed(2));
      const room = context.measureText(label).width / 2;
      context.fillText(label, Math.min(x, this.width - room), this.down + 6);
    }
    context.strokeStyle = paint.edge;
    this.rule(this.left, this.down + 0.5, this.right, this.down + 0.5);
  }

  x(t) { return this.left + ((t - this.from) / (this.to - this.from)) * (this.right - this.left); }
  y(value) { return this.down - (Math.min(value, this.top) / this.top) * (this.down - this.up); }

  rule(x0, y0, x1, y1) {
    this.context.beginPath();
    this.context.moveTo(x0, y0);
    this.context.lineTo(x1, y1);
    this.context.stroke();
  }

  // Values are of the `step` seconds before a sample: they are drawn as steps.
  line(shown, field, colour, width, dash = [], step = SAMPLE_S) {
    const { context } = this;
    context.strokeStyle = this.paint[colour];
    context.lineWidth = width;
    context.lineJoin = "round";
    context.setLineDash(dash);
    context.beginPath();
    let before = null;
    for (const sample of shown) {
      const value = sample[field];
      if (value === null) { before = null; continue; }
      const joined = before !== null && sample.t - before < 3.5 * step;
      if (!joined) context.moveTo(this.x(Math.max(this.from, sample.t - step)), this.y(value));
      else context.lineTo(this.x(before), this.y(value));
      context.lineTo(this.x(sample.t), this.y(value));
      before = sample.t;
    }
    context.stroke();
    context.setLineDash([]);
  }

  bars(shown, value, colour, joined = false, step = SAMPLE_S) {
    const { context } = this;
    context.fillStyle = this.paint[colour];
    const wide = Math.max(1, this.x(step) - this.x(0));
    for (const sample of shown) {
      const height = value(sample);
      if (height > 0) {
        const y = this.y(height);
        context.fillRect(this.x(sample.t) - wide, y, joined ? wide + 0.6 : Math.max(1, wide - 0.5), this.down - y);
      }
    }
  }
}

const charts = { rate: new Chart("rate-chart"), loss: new Chart("loss-chart"), fps: new Chart("fps-chart") };

// The scale follows the video's own rates; a link far wider than that is cut off, and said so.
function rateTop(shown) {
  let own = 50, link = 0;
  for (const s of shown) {
    own = Math.max(own, s.sent_kbps, s.delivered_kbps, s.target_kbps ?? 0);
    link = Math.max(link, s.capacity_kbps ?? 0);
  }
  put("beyond", link > CUT * own ? ` (to ${rounded(link)})` : "");
  return 1.1 * (link > CUT * own ? own : Math.max(own, link));
}

const RATES = ["capacity_kbps", "sent_kbps", "delivered_kbps", "target_kbps"];

// Means over `step` seconds that are over, each at their end; null where no sample has the field.
function means(shown, step) {
  const bins = new Map();
  for (const s of shown) {
    const bin = Math.ceil(s.t / step - 1e-6);
    if (!bins.has(bin)) bins.set(bin, []);
    bins.get(bin).push(s);
  }
  const now = shown.length ? shown[shown.length - 1].t : 0;
  const over = [...bins].filter(([bin]) => bin * step <= now + 1e-6);
  return over.map(([bin, members]) => {
    const mean = { t: bin * step };
    for (const field of RATES) {
      const known = members.map((s) => s[field]).filter((v) => v !== null);
      mean[field] = known.length ? known.reduce((a, b) => a + b) / known.length : null;
    }
    return mean;
  });
}

// First and last second to show: all of a short session, else the minute up to now.
function span(now) {
  const length = Math.min(SPAN_S, Math.max(1, heading.duration_s ?? SPAN_S));
  const to = Math.max(length, now);
  return [to - length, to];
}

// The points of the rate chart, and so the numbers beside it.
function shownRates(now) {
  const [from, to] = span(now);
  const shown = samples.filter((s) => s.t > from);
  return to - from > RAW_S ? means(shown, MEAN_S) : shown;
}

function drawRates(now) {
  const [from, to] = span(now);
  const step = to - from > RAW_S ? MEAN_S : SAMPLE_S;
  put("rate-unit", step === SAMPLE_S ? "kbit/s" : `kbit/s, ${MEAN_S} s means`);
  const rates = shownRates(now);
  const chart = charts.rate;
  chart.begin(rateTop(rates), from, to);
  chart.bars(rates, (s) => s.capacity_kbps ?? 0, "area", true, step);
  chart.line(rates, "capacity_kbps", "edge", 1, [], step);
  chart.line(rates, "sent_kbps", "sent", 1.3, [], step);
  chart.line(rates, "delivered_kbps", "delivered", 2.2, [], step);
  chart.line(rates, "target_kbps", "target", 1.5, [5, 3], step);
}

let asked = false;
function draw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; drawNow(); });
}

function drawNow() {
  if (!heading) return;
  const now = samples.length ? samples[samples.length - 1].t : 0;
  const [from, to] = span(now);
  const shown = samples.filter((s) => s.t > from);
  drawRates(now);
  const worst = Math.max(10, ...shown.map((s) => 100 * s.loss_share));
  charts.loss.begin(worst * 1.05, from, to);
  charts.loss.bars(shown, (s) => 100 * s.loss_share, "loss");
  const fastest = Math.max(heading.fps, ...shown.map((s) => Math.max(s.coding_fps, s.rendered_fps)));
  charts.fps.begin(fastest * 1.1, from, to);
  charts.fps.line(shown, "rendered_fps", "rendered", 2.2);
  charts.fps.line(shown, "coding_fps", "target", 1.5, [5, 3]);
}

// --- what comes in ------------------------------------------------------------------------------

function tell() {
  const s = samples[samples.length - 1];
  if (!s) return;
  const length = heading.duration_s === null ? "" : ` of ${clock(heading.duration_s)}`;
  put("elapsed", clock(s.t) + length);
  put("mode", s.mode || "–");
  put("state", s.state || "–");
  put("delay", s.frame_delay_ms === null ? "–" : `${rounded(s.frame_delay_ms)} ms`);
  put("late", String(s.late_frames));
  put("queue", s.queue_bytes === null ? "–" : `${rounded(s.queue_bytes / 1000, 1)} kB`);
  const rates = shownRates(s.t).at(-1) ?? s;
  put("sent", rounded(rates.sent_kbps));
  put("delivered", rounded(rates.delivered_kbps));
  put("target", rounded(rates.target_kbps));
  put("loss", `${rounded(100 * s.loss_share)} %`);
  put("coding", rounded(s.coding_fps));
  put("rendered", rounded(s.rendered_fps));
}

// For readers of the page that do not see the curves; not more than once a second.
let described = -1;
function describe() {
  const s = samples[samples.length - 1];
  if (!s || Math.floor(s.t) === described) return;
  described = Math.floor(s.t);
  const label = (chart, text) => charts[chart].canvas.setAttribute("aria-label", text);
  label("rate", `Bitrate over time. Now sent ${rounded(s.sent_kbps)}, delivered ` +
    `${rounded(s.delivered_kbps)}, target ${rounded(s.target_kbps)}, capacity ` +
    `${rounded(s.capacity_kbps)} kilobits per second`);
  label("loss", `Packet loss over time. Now ${rounded(100 * s.loss_share)} per cent`);
  label("fps", `Frames per second over time. Now coded ${rounded(s.coding_fps)}, rendered ` +
    `${rounded(s.rendered_fps)}`);
}

function onHeading(event) {
  heading = JSON.parse(event.data);
  samples.length = 0;
  described = -1;
  const h = heading;
  document.title = `${h.transport} – ${h.trace}, ${h.loss}`;
  put("title", `${h.transport} over ${h.trace}, ${h.loss === "none" ? "no loss" : h.loss}`);
  put("setting", `${h.clip}, ${h.width}×${h.height} at ${+h.fps.toFixed(2)} fps · rate control ` +
    `${h.control} · ${h.world}`);
  document.documentElement.style.setProperty("--ratio", `${h.width} / ${h.height}`);
  badge("waiting", "○ preparing");
  draw();
}

function onSamples(event) {
  for (const sample of JSON.parse(event.data)) {
    sample.t = sample.time_ns / 1e9;
    samples.push(sample);
  }
  badge("running", "● running");
  if (samples.length > KEPT) samples.splice(0, samples.length - KEPT);
  tell();
  describe();
  draw();
}

function onShown(event) {
  const { source_frame: source, received_frame: received, due_frame: due } = JSON.parse(event.data);
  put("source-note", `frame ${source}`);
  const milliseconds = (frames) => `${Math.round((1000 * frames) / heading.fps)} ms`;
  // Where decoding for this page takes longer than the session: the viewer would see more.
  const ours = due > received ? `, ${milliseconds(due - received)} of it for decoding here` : "";
  put("received-note", received < 0 ? "nothing yet" : `frame ${received}, ${milliseconds(source - received)} behind${ours}`);
}

function onEnd(event) {
  const { state, reason } = JSON.parse(event.data);
  over = true;
  stream.close();
  badge(state, state === "done" ? "■ done" : `▲ failed: ${reason}`);
}

const stream = new EventSource("/events");
stream.addEventListener("heading", onHeading);
stream.addEventListener("samples", onSamples);
stream.addEventListener("shown", onShown);
stream.addEventListener("end", onEnd);
stream.addEventListener("error", () => {
  if (!over) badge("cut", "▲ no connection");
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
