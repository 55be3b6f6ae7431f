"""Narrow a VGG without training: choose channels, then solve each layer's kernel.

Both steps look at what the layers do to training pictures. ``choose`` leaves out input channels of
a convolution, always those without which the others predict its outputs best (backward elimination;
He et al. 2017, *Channel Pruning for Accelerating Very Deep Neural Networks*, state the same problem
and solve it by lasso). ``fit`` then finds, by least squares, the
kernel that predicts the outputs from what the narrow network itself has computed so far, so that
every layer makes up for errors of the layers before it.
"""

import torch
import torch.nn.functional as F

RIDGE = 1e-6  # share of the mean square of an input


class Moments:
    """Second moments of 3x3 patches, with a one as last entry, and of outputs at the same places.

    Attributes:
      inputs: ``(9 C + 1, 9 C + 1)``, float64.
      outputs: ``(9 C + 1, D)``, products of patches and outputs.
    """

    def __init__(self, channels: int, outputs: int):
        rows = 9 * channels + 1
        self.inputs = torch.zeros(rows, rows, dtype=torch.float64)
        self.outputs = torch.zeros(rows, outputs, dtype=torch.float64)

    def add(self, padded: torch.Tensor, outputs: torch.Tensor, places: torch.Tensor) -> None:
        """Add positions of one batch.

        Args:
          padded: Inputs with their padding, ``(B, C, H + 2, W + 2)``.
          outputs: ``(B, D, H, W)``.
          places: Indices into the ``B * H * W`` positions.
        """
        patches = F.unfold(padded, 3).transpose(1, 2).flatten(0, 1)[places]
        patches = torch.cat([patches, torch.ones(len(places), 1)], 1)
        self.inputs += patches.T @ patches
        self.outputs += patches.T @ outputs.permute(0, 2, 3, 1).flatten(0, 2)[places]

    def ridged(self) -> torch.Tensor:
        """Return the inputs' moments with a small multiple of the identity, to be inverted."""
        mean = self.inputs.diagonal().mean()
        return self.inputs + RIDGE * mean * torch.eye(len(self.inputs), dtype=torch.float64)


def choose(moments: Moments, keep: int) -> list[int]:
    """Return the ``keep`` input channels that together predict the outputs best, in order.

    An eighth of the surplus is left out at a time, in the end one channel at a time. Leaving
    channel g out of a least squares solution W raises its squared error by
    tr(W_g' (A^-1_gg)^-1 W_g), with A the inputs' moments and g the nine rows of the channel; both
    A^-1 and W are then updated for what is left.
    """
    inverse = torch.linalg.inv(moments.ridged())
    solution = inverse @ moments.outputs
    channels = (len(inverse) - 1) // 9
    # Patches run channel by channel, nine positions each.
    rows = torch.arange(9 * channels).view(channels, 9)
    left = list(range(channels))
    while len(left) > keep:
        own = rows[left]
        blocks = torch.linalg.inv(inverse[own[:, :, None], own[:, None, :]])
        parts = solution[own]
        cost = torch.einsum("gio,gij,gjo->g", parts, blocks, parts)
        several = max(1, (len(left) - keep) // 8)
        worst = set(cost.topk(several, largest=False).indices.tolist())
        gone = own[sorted(worst)].flatten()
        column = torch.linalg.solve(inverse[gone][:, gone], inverse[gone]).T
        solution = solution - column @ solution[gone]
        inverse = inverse - column @ inverse[gone]
        left = [channel for i, channel in enumerate(left) if i not in worst]
    return left


def fit(moments: Moments) -> tuple[torch.Tensor, torch.Tensor]:
    """Return kernel ``(D, C, 3, 3)`` and bias ``(D,)`` that predict the outputs best, float32."""
    solution = torch.linalg.solve(moments.ridged(), moments.outputs).float()
    kernel = solution[:-1].T.unflatten(1, (-1, 3, 3))
    return kernel.contiguous(), solution[-1]
