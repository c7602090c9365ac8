"""Say which GPUs TensorFlow sees, and multiply two matrices on each."""

import time

import tensorflow as tf

SIDE = 4096


def main() -> None:
    """Print one line a GPU; on a node without one, say so and use the CPU."""
    devices = tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("CPU")
    print(f"TensorFlow {tf.__version__}")
    for device in devices:
        name = device.name.removeprefix("/physical_device:")
        with tf.device(f"/{name}"):
            left = tf.random.normal((SIDE, SIDE), seed=1)
            tf.linalg.matmul(left, left).numpy()  # the first one also loads the libraries
            began = time.perf_counter()
            tf.linalg.matmul(left, left).numpy()
            seconds = time.perf_counter() - began
        print(f"{name}: {2 * SIDE**3 / seconds / 1e9:.0f} GFLOP/s")
    if devices[0].device_type == "CPU":
        print("no GPU here: run it in a job with one, for example srun --gres=gpu:1 nox -s gpu")


if __name__ == "__main__":
    main()
