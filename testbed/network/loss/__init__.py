"""Loss models: seeded, by name, and the stage that applies them.

| kind | options | mask indexed by |
|---|---|---|
| `none` | - | packet |
| `bernoulli` | rate | packet |
| `gilbert-elliott` | p, r, h, k, or rate and mean_burst; per: packet or frame | packet or frame |
| `conditional` | pattern | packet |
| `mask` | bits or file | packet |
| `outage` | mean_up_s, mean_down_s | time |
| `periodic-outage` | period_s, duration_s, offset_s | time |
"""

from testbed.network.loss import markov, outage, simple  # noqa: F401  (they register themselves)
from testbed.network.loss.base import LOSS_MODELS, LossModel, LossStage, make_loss

__all__ = ["LOSS_MODELS", "LossModel", "LossStage", "make_loss"]
