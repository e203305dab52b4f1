"""Constants of draft-ietf-ccwg-bbr-06, each with the section that gives it.

Units are in the names: times in integer nanoseconds, volumes in bytes, rates in bit/s.
"""

from __future__ import annotations

from typing import Final

SECOND_NS: Final = 1_000_000_000

#: "No bound", where the draft says Infinity; far above any volume or rate, and still an integer.
INFINITE: Final = 1 << 62

# Pacing (section "Pacing State and Parameters").
#: BBR.StartupPacingGain: 4 ln 2, so that the rate can double every round.
STARTUP_PACING_GAIN: Final = 2.77
#: BBR.DrainPacingGain.
DRAIN_PACING_GAIN: Final = 0.5
#: BBR.PacingMarginPercent: pace this far below the estimate.
PACING_MARGIN_PERCENT: Final = 1

# Sections "ProbeBW_DOWN", "ProbeBW_CRUISE", "ProbeBW_REFILL", "ProbeBW_UP".
PROBE_DOWN_PACING_GAIN: Final = 0.90
PROBE_CRUISE_PACING_GAIN: Final = 1.0
PROBE_REFILL_PACING_GAIN: Final = 1.0
PROBE_UP_PACING_GAIN: Final = 1.25
#: BBR.DefaultCwndGain (section "cwnd State and Parameters").
DEFAULT_CWND_GAIN: Final = 2.0
#: Section "ProbeBW_UP".
PROBE_UP_CWND_GAIN: Final = 2.25

# Section "Core Algorithm Design Parameters".
#: BBR.LossThresh: tolerated share of loss in a round while probing.
LOSS_THRESHOLD: Final = 0.02
#: BBR.Beta: decrease per round with loss.
BETA: Final = 0.7
#: BBR.Headroom: share of inflight_longterm left free.
HEADROOM: Final = 0.15
#: BBR.MinPipeCwnd, in packets.
MIN_PIPE_PACKETS: Final = 4

# Full pipe (section "Exiting Acceleration Based on Bandwidth Plateau").
FULL_BW_GROWTH: Final = 1.25
FULL_BW_ROUNDS: Final = 3
#: BBRStartupFullLossCnt (section "Exiting Startup Based on Packet Loss").
STARTUP_FULL_LOSS_COUNT: Final = 6
#: Rounds after which Drain ends anyway (section "Drain").
DRAIN_ROUNDS: Final = 3

# Time scales (sections "A Dual-Time-Scale Approach for Coexistence", "ProbeRTT").
#: T_bbr is this plus a uniform draw from [0, 1) s.
PROBE_WAIT_BASE_NS: Final = 2 * SECOND_NS
PROBE_WAIT_RANDOM_NS: Final = SECOND_NS
#: Bound of T_reno in rounds.
PROBE_MAX_ROUNDS: Final = 63
#: BBR.MinRTTFilterLen.
MIN_RTT_FILTER_NS: Final = 10 * SECOND_NS
#: BBR.ProbeRTTInterval.
PROBE_RTT_INTERVAL_NS: Final = 5 * SECOND_NS
#: BBR.ProbeRTTDuration.
PROBE_RTT_DURATION_NS: Final = 200_000_000
#: BBR.ProbeRTTCwndGain.
PROBE_RTT_CWND_GAIN: Final = 0.5

#: BBR.ExtraAckedFilterLen in rounds; 1 before the pipe was full (section "BBR.extra_acked").
EXTRA_ACKED_ROUNDS: Final = 10
EXTRA_ACKED_STARTUP_ROUNDS: Final = 1

# Section "Send Quantum: C.send_quantum".
QUANTUM_NS: Final = 1_000_000
QUANTUM_MAX_BYTES: Final = 64 * 1024
QUANTUM_MIN_PACKETS: Final = 2

#: RFC 6928 section 2: initial window in packets (the draft leaves it to the transport).
INITIAL_CWND_PACKETS: Final = 10
#: RTT assumed for the initial pacing rate (section "Pacing Rate: C.pacing_rate").
INITIAL_RTT_NS: Final = 1_000_000
#: bw_probe_up_rounds stops here (section "ProbeBW Algorithm Details").
PROBE_UP_MAX_ROUNDS: Final = 30
