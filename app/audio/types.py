"""What audio is inside the service: mono float32 samples, -1 to 1, at one rate."""

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]
"""(samples,)"""

SAMPLE_RATE = 16_000
"""Of decoded audio, in Hz: what speech-to-text models hear."""
