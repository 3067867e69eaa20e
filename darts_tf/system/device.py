"""The name of the device on which this machine computes: costs measured on one device do not apply to another."""

import platform

from darts_tf.system.keras_settings import tf


def device() -> str:
    """Returns the name of the GPU in use, or that of the processor."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    return f"CPU, {_processor()}"


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = [line.partition(":") for line in file]
        return next(value.strip() for key, _, value in lines if key.strip() == "model name" and value.strip())
    except (OSError, StopIteration):  # not Linux, or an ARM processor
        return platform.processor() or platform.machine()
