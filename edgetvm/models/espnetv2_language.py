"""ESPNetv2's language model: an LSTM whose input transform is an EESP unit (arXiv 1811.11431)."""

import torch
from torch import nn

from edgetvm.errors import UsageError

_GATES = 4
_BRANCHES = 4


class ESPNetV2Language(nn.Module):
    """The word-level language model of arXiv 1811.11431: (N, T, width) to logits (N, T, words).

    From the paper: an LSTM in whose cell an EESP unit replaces the linear transforms of the input
    vector, called an efficient recurrent unit (ERU), on Penn Treebank, whose vocabulary has
    10 000 words. From the same authors' code of an earlier recurrent unit (sacmehta/PRU): three
    layers, words embedded in 400 values, and the matrix of the embedding shared by the last layer.

    Our reading, as no code of the ERU was found: the hidden state is as wide as the embedding and
    is transformed linearly, and :class:`VectorEESP` is the unit for vectors. All parameters are
    then 6.5 million, those of the embedding among them, since they are the last layer's. The
    paper's own number was not found to compare.

    The input are words already embedded, T of them; the state before the first is zero. T is that
    of the input when the network is traced: the steps are unrolled.

    Parameters
    ----------
    width : of the embedding and of the hidden state of each layer.
    layers : number of recurrent layers.
    words : size of the vocabulary.

    Raises
    ------
    UsageError
        A number is not positive, or `width` is no multiple of 16.
    """

    def __init__(self, width: int = 400, layers: int = 3, words: int = 10_000) -> None:
        super().__init__()
        if width < 1 or width % _BRANCHES**2:
            raise UsageError(f"ESPNetv2: width {width} must be a positive multiple of 16.")
        for name, value in (("layers", layers), ("words", words)):
            if value < 1:
                raise UsageError(f"ESPNetv2: {name} is {value}; there is at least one.")
        self.layers = nn.Sequential(*(EfficientRecurrentUnit(width) for _ in range(layers)))
        self.decoder = nn.Linear(width, words)

    def forward(self, embedded: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, T, words) of each next word."""
        logits: torch.Tensor = self.decoder(self.layers(embedded))
        return logits


class EfficientRecurrentUnit(nn.Module):
    """An LSTM layer with an EESP unit for its input: (N, T, width) to hidden states (N, T, width).

    The input does not depend on the state, so all its steps are transformed at once.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.eesp = VectorEESP(width)
        self.recurrent = nn.Linear(width, _GATES * width, bias=False)

    def forward(self, sequence: torch.Tensor) -> torch.Tensor:
        """Return the hidden state after each step, from a state of zeros."""
        batch, steps, width = map(int, sequence.shape)
        inputs = self.eesp(sequence.reshape(batch * steps, width))
        inputs = inputs.reshape(batch, steps, _GATES * width)
        hidden = cell = None
        states = []
        for step in range(steps):
            gates = inputs[:, step]
            if hidden is not None:
                gates = gates + self.recurrent(hidden)
            forget, update, output = gates[:, : 3 * width].sigmoid().split(width, dim=1)
            added = update * gates[:, 3 * width :].tanh()
            cell = added if cell is None else forget * cell + added
            hidden = output * cell.tanh()
            states.append(hidden)
        return torch.stack(states, dim=1)


class VectorEESP(nn.Module):
    """The EESP unit for vectors, one for each gate of an LSTM: (N, width) to (N, 4 * width).

    Reduce, split, transform and merge as for maps, see :class:`edgetvm.models.espnetv2.EESP`: a
    linear layer in four groups reduces to a quarter; four 1-D convolutions of dilations 1 to 4,
    each group's values a channel of its own, work on that; their running sums are concatenated
    and mixed by a linear layer in four groups, one a branch; the input is added. All of this is
    done for each gate with its own weights, side by side in layers of four times as many groups.

    Our reading: there are biases instead of batch normalisations, which a recurrent layer has
    not, and the gate's function stands for the unit's last activation.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = _GATES * _BRANCHES
        self.reduce = nn.Conv1d(width, width, 1, groups=_BRANCHES)
        self.reduce_act = nn.PReLU(width)
        self.branches = nn.ModuleList(
            nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels)
            for dilation in range(1, _BRANCHES + 1)
        )
        self.merge_act = nn.PReLU(_GATES * width)
        self.merge = nn.Conv1d(_GATES * width, _GATES * width, 1, groups=channels)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the input's part of the gates, one gate after the other."""
        batch, width = map(int, vectors.shape)
        reduced = self.reduce_act(self.reduce(vectors.reshape(batch, width, 1)))
        # The grouped layer leaves each group's values for all gates together.
        signals = reduced.reshape(batch, _GATES * _BRANCHES, -1)
        sums: list[torch.Tensor] = []
        for branch in self.branches:
            output = branch(signals)
            sums.append(sums[-1] + output if sums else output)
        merged = torch.stack(sums, dim=1).reshape(batch, _BRANCHES, _BRANCHES, _GATES, -1)
        merged = merged.permute(0, 3, 1, 2, 4).reshape(batch, _GATES * width, 1)
        gates = self.merge(self.merge_act(merged)).reshape(batch, _GATES, width)
        residual: torch.Tensor = gates + vectors.reshape(batch, 1, width)
        return residual.reshape(batch, _GATES * width)
