"""Constants of the two forms of Google Congestion Control, each with its source.

"draft" is draft-ietf-rmcat-gcc-02 (2016-07), "libwebrtc" what that library has become since: a
trend line instead of a Kalman filter, and other gains of the threshold. Times are in milliseconds
where the sources have them so (`_MS`); everything else in integer nanoseconds or bit/s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# --- groups of packets (draft section 5.2) ---
#: burst_time: packets sent within this time are one group.
BURST_NS: Final = 5_000_000
#: libwebrtc, InterArrivalDelta: a gap in arrivals this long starts the filters anew.
ARRIVAL_GAP_NS: Final = 3_000_000_000

# --- Kalman filter (draft section 5.3, table of constants in section 5.7) ---
#: q, state noise variance, ms^2.
KALMAN_Q: Final = 1e-3
#: e(0), initial variance of the estimate, ms^2.
KALMAN_E0: Final = 0.1
#: chi, coefficient of the measured noise variance.
KALMAN_CHI: Final = 1e-3
#: K, groups over which the highest rate of groups is taken.
KALMAN_GROUPS: Final = 10
#: Samples beyond this many standard deviations count as that.
KALMAN_OUTLIER: Final = 3.0
#: Floor of the noise variance, ms^2.
KALMAN_LEAST_NOISE: Final = 1.0

#: Offset and trend are multiplied by the number of groups so far, up to this (libwebrtc and pion;
#: see `KalmanFilter`).
MAX_DELTAS: Final = 60

# --- trend line (libwebrtc, TrendlineEstimator) ---
TRENDLINE_GROUPS: Final = 20
TRENDLINE_SMOOTHING: Final = 0.9
TRENDLINE_GAIN: Final = 4.0

# --- over-use detector (draft section 5.4) ---
#: del_var_th(0).
THRESHOLD_INITIAL_MS: Final = 12.5
THRESHOLD_LEAST_MS: Final = 6.0
THRESHOLD_MOST_MS: Final = 600.0
#: An offset this far beyond the threshold does not move it.
THRESHOLD_OUTLIER_MS: Final = 15.0
#: libwebrtc: no step of the threshold covers more time.
THRESHOLD_MAX_STEP_MS: Final = 100.0
#: overuse_time_th.
OVERUSE_MS: Final = 10.0

# --- rate control (draft section 5.5) ---
#: beta.
DECREASE_FACTOR: Final = 0.85
#: Multiplicative increase a second.
INCREASE_PER_SECOND: Final = 1.08
#: Smoothing of the average rate at decreases.
CONVERGENCE_SMOOTHING: Final = 0.95
#: Near convergence: within this many standard deviations of that average.
CONVERGENCE_DEVIATIONS: Final = 3.0
#: The estimate stays below this times the received rate.
RECEIVED_CAP: Final = 1.5
#: Response time of the system is this plus the round trip.
RESPONSE_MS: Final = 100.0
#: Frame rate and packet size assumed for the additive increase.
ASSUMED_FPS: Final = 30.0
ASSUMED_PACKET_BITS: Final = 1200 * 8
LEAST_INCREASE_BPS: Final = 1000.0
#: T, window of the received rate R_hat: 0.5 to 1 s.
RECEIVED_WINDOW_NS: Final = 500_000_000

# --- loss-based control (draft section 6) ---
LOSS_LOW: Final = 0.02
LOSS_HIGH: Final = 0.10
LOSS_INCREASE: Final = 1.05
LOSS_DECREASE: Final = 0.5
#: How often it runs: the draft says once a report; pion's 200 ms hold for reports that are more
#: frequent than RTCP's.
LOSS_INTERVAL_NS: Final = 200_000_000
#: libwebrtc, SendSideBandwidthEstimation: 8 % more than the least of the last second, at most once
#: a second; decreases at most once in 300 ms and a round trip.
LOSS_LIBWEBRTC_INCREASE: Final = 1.08
LOSS_LIBWEBRTC_INCREASE_NS: Final = 1_000_000_000
LOSS_LIBWEBRTC_DECREASE_NS: Final = 300_000_000


@dataclass(frozen=True, slots=True)
class Gains:
    """Gains of the adaptive threshold, a millisecond.

    Attributes:
        up: K_u, when the offset is beyond the threshold.
        down: K_d, when it is below.
    """

    up: float
    down: float


#: Draft section 5.4.
DRAFT_GAINS: Final = Gains(up=0.01, down=0.00018)
#: libwebrtc, TrendlineEstimator.
LIBWEBRTC_GAINS: Final = Gains(up=0.0087, down=0.039)
