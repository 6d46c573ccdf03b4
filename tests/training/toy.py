"""A toy training with everything that resuming could get wrong: BatchNorm, dropout, momentum, noise, validation.

As a script it trains from a checkpoint and prints each step; the kill tests run it in a process of its own.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.training.device import set_deterministic, set_threads
from pipeline.training.loop import TrainResult, train
from pipeline.training.optim import lr_schedule, make_optimizer
from pipeline.training.sampler import batch_indices, step_rng

ITEMS, CLASSES, BATCH = 30, 3, 4


def make_model(norm: bool = True) -> nn.Sequential:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8) if norm else nn.Identity(),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2) if norm else nn.Identity(),
            nn.Linear(32, CLASSES),
        )


def make_data() -> tuple[np.ndarray, np.ndarray]:
    """Images float32 [ITEMS, 3, 10, 10] whose mean colour tells the class, labels int64 [ITEMS]."""
    rng = np.random.default_rng(0)
    labels = np.arange(ITEMS) % CLASSES
    images = rng.normal(size=(ITEMS, 3, 10, 10)) + 0.5 * np.eye(3)[labels][:, :, None, None]
    return images.astype(np.float32), labels


IMAGES, LABELS = make_data()


def make_batch(step: int) -> dict[str, Tensor]:
    rows = batch_indices(1, step, BATCH, ITEMS, "wrap")
    images = IMAGES[rows] * step_rng(1, step).uniform(0.8, 1.2, size=(BATCH, 1, 1, 1)).astype(np.float32)
    return {"images": torch.from_numpy(images), "labels": torch.from_numpy(LABELS[rows])}


def noisy_loss(model: nn.Module, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    noise = 0.1 * torch.randn(batch["images"].shape, generator=generator)
    logits = model(batch["images"] + noise)
    classes = nn.functional.cross_entropy(logits, batch["labels"])
    size = logits.square().mean()
    return {"total": classes + 0.01 * size, "classes": classes, "size": size}


def accuracy(model: nn.Module) -> dict[str, float]:
    assert not model.training and not torch.is_grad_enabled()
    torch.rand(3)  # a validation that draws random numbers must not change the training
    return {"accuracy": float((model(torch.from_numpy(IMAGES)).argmax(1).numpy() == LABELS).mean())}


def run(
    steps: int, checkpoint: Path | None = None, name: str = "adamw", **settings: Any
) -> tuple[nn.Module, TrainResult]:
    """Train the toy; ``settings`` override those of the loop."""
    model = make_model().train()
    model[1].eval() if settings.pop("frozen", False) else None
    optimizer = make_optimizer(
        model, name, 0.1 if name == "sgd" else 0.02, momentum=0.9, weight_decay=1e-3, decay_norm_bias=False
    )
    schedule = lr_schedule("cosine", steps, warmup=3)
    defaults: dict[str, Any] = {
        "steps": steps, "optimizer": optimizer, "lr": schedule, "seed": 5, "clip_norm": 1.0, "log_every": 5,
        "validate": accuracy, "validate_every": 7, "metric": "accuracy",
        "checkpoint": checkpoint, "checkpoint_every": 3, "fingerprint": "toy",
    }  # fmt: skip
    arguments = defaults | settings
    return model, train(model, arguments.pop("loss", noisy_loss), arguments.pop("batches", make_batch), **arguments)


def weights(model: nn.Module) -> list[bytes]:
    """The bytes of all parameters and buffers."""
    return [value.detach().numpy().tobytes() for value in model.state_dict().values()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    options = parser.parse_args()
    set_threads(1)
    set_deterministic()
    trained, result = run(options.steps, options.checkpoint, on_step=lambda done, *_: print(done, flush=True))
    save_file(trained.state_dict(), options.out / "final.safetensors")
    save_file(result.best_state, options.out / "best.safetensors")
    (options.out / "history.txt").write_text(f"{result.best_step}\n" + "\n".join(map(repr, result.history)))
