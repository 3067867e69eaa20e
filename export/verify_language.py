"""Compares an exported language model with its network: `python -m darts_tf.export.verify_language FOLDER FILE.npz`."""

import numpy as np

from darts_tf.export import verify
from darts_tf.system.errors import UserError


def check(folder: str, expected: str) -> dict:
    """Loads a SavedModel and compares its signatures at `verify.BATCHES`; runs its warm-up requests.

    Args:
        folder: The SavedModel.
        expected: `.npz` file with what `language.outputs_of` returns.

    Returns:
        The largest differences of `logits`, `state` and `log_probabilities`, and `warmup_requests`.

    Raises:
        UserError: It cannot be loaded, or something is off.
    """
    import tensorflow as tf

    from darts_tf.export import warmup
    from darts_tf.runs.saved_model import load_saved_model

    with np.load(expected) as file:
        known = dict(file)
    loaded = load_saved_model(folder)
    signatures = loaded.signatures
    found = {"logits": 0.0, "state": 0.0, "log_probabilities": 0.0}
    for size in verify.BATCHES:
        tokens, state = tf.constant(known["tokens"][:size]), tf.constant(known["state"][:size])
        outputs = dict(signatures["step"](tokens=tokens, state=state))
        outputs |= signatures["score"](tokens=tokens)
        longer = tf.pad(tokens, [[0, 0], [0, 3]], constant_values=-1)
        perplexity = signatures["serving_default"](tokens=longer)["perplexity"].numpy()
        likely = known["log_probabilities"][:size]
        if not np.allclose(perplexity, np.exp(-likely.mean(1)), rtol=1e-4):
            raise UserError(f"score at batch {size}: the perplexity is not that of the network, or depends on padding.")
        for name, theirs in (("logits", "logits"), ("state", "new_state"), ("log_probabilities", "log_probabilities")):
            right, mine = known[theirs][:size], outputs[name].numpy()
            if mine.shape != right.shape:
                raise UserError(f"Expected {name} of shape {right.shape}. Received: {mine.shape}.")
            off, limit = float(np.abs(mine - right).max()), verify.tolerance(right)
            if not off <= limit:
                raise UserError(f"{name} at batch {size} are off by {off:.2g}. Expected at most {limit:.2g}.")
            found[name] = max(found[name], off)
    found["warmup_requests"] = warmup.run(signatures, warmup.read(folder))
    return found


if __name__ == "__main__":
    verify.main(check)
