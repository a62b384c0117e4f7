"""What the garbage collector passes over; owns when that is decided anew."""

import gc


def spare_the_garbage_collector() -> None:
    """Let it pass over what is there for good. Blocks for half a second.

    The modules of vLLM and its libraries hold a million objects: looking through them stops every
    stream for half a second, again and again while many requests come and go. To be called when
    engines have started; what the last call spared and nobody needs any more is freed.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
