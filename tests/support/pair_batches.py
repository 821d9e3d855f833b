"""Small labeled batches for losses that compare rows with each other."""

import torch


def mixed_labels(people: int, images: int) -> torch.Tensor:
    """Labels of P people x K images with gaps between the labels, as the loader's P x K gives."""
    return (torch.arange(people) * 7 + 3).repeat_interleave(images)


def draw_batch(seed: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of five people, uneven, one of them alone: enough for every kind of pair."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([4, 4, 9, 9, 9, 2, 7, 7, 11, 11])
    order = torch.cat([torch.arange(2), 2 + torch.randperm(8, generator=generator)])
    centres = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    rows = (
        centres[labels] * 0.3 + torch.randn(10, 5, generator=generator, dtype=torch.float64) * 0.3
    )
    return rows[order].to(dtype), labels[order]
