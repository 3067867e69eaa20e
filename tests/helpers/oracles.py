"""The candidate operations in plain NumPy, written from the paper's definitions; imports nothing of darts_tf.

Images are `(N, H, W, C)`; kernels and names are the original's: `(out, in / groups, height, width)`. An oracle is
`(x, arrays, stride, training) -> y`, where `arrays` holds one edge's weights and moving statistics by name.
"""

import numpy as np

EPSILON, MOMENTUM = 1e-5, 0.1


def pad_images(x, height, width, value=0.0):
    """Pads `height` rows above and below and `width` columns left and right."""
    return np.pad(x, ((0, 0), (height, height), (width, width), (0, 0)), constant_values=value)


def windows(x, size, stride=(1, 1), dilation=1):
    """Yields `(row, column, patch)` of every output pixel; the patch is `(N, size[0], size[1], C)`."""
    span = [dilation * (k - 1) + 1 for k in size]
    for i, top in enumerate(range(0, x.shape[1] - span[0] + 1, stride[0])):
        for j, left in enumerate(range(0, x.shape[2] - span[1] + 1, stride[1])):
            yield i, j, x[:, top : top + span[0] : dilation, left : left + span[1] : dilation]


def over_windows(function, *args):
    """Puts together what a function makes, `(N, C)`, of each patch of `windows`."""
    pixels = {(i, j): function(patch) for i, j, patch in windows(*args)}
    rows, columns = (1 + max(position[axis] for position in pixels) for axis in (0, 1))
    return np.stack([np.stack([pixels[i, j] for j in range(columns)], 1) for i in range(rows)], 1)


def conv(x, kernel, stride=(1, 1), pad=(0, 0), dilation=1, groups=1):
    """A convolution, kernel `(out, in / groups, height, width)`."""
    per_group, filters = kernel.shape[1], kernel.shape[0] // groups

    def pixel(patch):
        out = np.zeros((len(patch), kernel.shape[0]), x.dtype)
        for o in range(kernel.shape[0]):
            first = o // filters * per_group
            for c in range(per_group):
                out[:, o] += np.sum(patch[..., first + c] * kernel[o, c], (1, 2))
        return out

    return over_windows(pixel, pad_images(x, *pad), kernel.shape[2:], stride, dilation)


def depthwise(x, kernel, stride=1, dilation=1):
    """One kernel for each channel, padded by half of its width."""
    pad = dilation * (kernel.shape[2] // 2)
    return conv(x, kernel, (stride, stride), (pad, pad), dilation, groups=x.shape[-1])


def relu(x):
    return np.where(x > 0, x, 0)


def statistics(x):
    """The mean, and the unbiased variance that enters the moving average."""
    return x.mean((0, 1, 2)), x.var((0, 1, 2), ddof=1)


def norm(x, arrays, name, training):
    """Batch normalisation; `.weight` and `.bias` are 1 and 0 where they are absent."""
    if training:
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    else:
        mean, variance = arrays[f"{name}.running_mean"], arrays[f"{name}.running_var"]
    y = (x - mean) / np.sqrt(variance + EPSILON)
    return y * arrays.get(f"{name}.weight", 1) + arrays.get(f"{name}.bias", 0)


def none(x, arrays, stride, training):
    return np.zeros_like(x[:, ::stride, ::stride])


def _pool(reduce, value):
    def pool(x, arrays, stride, training):
        y = over_windows(lambda patch: reduce(patch, (1, 2)), pad_images(x, 1, 1, value), (3, 3), (stride, stride))
        return norm(y, arrays, "1", training) if "1.running_mean" in arrays else y

    return pool


def skip_connect(x, arrays, stride, training):
    return x if stride == 1 else factorized_reduce(x, arrays, stride, training)


def factorized_reduce(x, arrays, stride, training):
    """Odd sizes, which the original refuses, get a row or column of zeros at their end."""
    x = relu(np.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0))))
    halves = [conv(x, arrays["conv_1.weight"], (2, 2)), conv(x[:, 1:, 1:], arrays["conv_2.weight"], (2, 2))]
    return norm(np.concatenate(halves, -1), arrays, "bn", training)


def relu_conv_bn(x, arrays, stride, training):
    return norm(conv(relu(x), arrays["op.1.weight"]), arrays, "op.2", training)


def sep_conv(x, arrays, stride, training):
    for depth, point, bn, s in ((1, 2, 3, stride), (5, 6, 7, 1)):
        x = depthwise(relu(x), arrays[f"op.{depth}.weight"], s)
        x = norm(conv(x, arrays[f"op.{point}.weight"]), arrays, f"op.{bn}", training)
    return x


def dil_conv(x, arrays, stride, training):
    x = depthwise(relu(x), arrays["op.1.weight"], stride, dilation=2)
    return norm(conv(x, arrays["op.2.weight"]), arrays, "op.3", training)


def conv_7x1_1x7(x, arrays, stride, training):
    x = conv(relu(x), arrays["1.weight"], (1, stride), (0, 3))
    return norm(conv(x, arrays["2.weight"], (stride, 1), (3, 0)), arrays, "3", training)


def nor_conv(x, arrays, stride, training):
    pad = arrays["op.1.weight"].shape[2] // 2
    return norm(conv(relu(x), arrays["op.1.weight"], pad=(pad, pad)), arrays, "op.2", training)


ORACLES = {
    "none": none,
    "max_pool_3x3": _pool(np.max, -np.inf),
    "avg_pool_3x3": _pool(np.nanmean, np.nan),
    "skip_connect": skip_connect,
    "sep_conv_3x3": sep_conv,
    "sep_conv_5x5": sep_conv,
    "sep_conv_7x7": sep_conv,
    "dil_conv_3x3": dil_conv,
    "dil_conv_5x5": dil_conv,
    "conv_7x1_1x7": conv_7x1_1x7,
    "nor_conv_1x1": nor_conv,
    "nor_conv_3x3": nor_conv,
}
