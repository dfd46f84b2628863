r"""
Digits, by a network of your own
================================

Any network F(x, σ) can learn the score; here it has convolutions. p is a classifier's certainty.
"""

import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn.functional import silu

from skscore import NCSNGenerator
from skscore.networks import SigmaEmbedding


class DigitNet(nn.Module):
    def __init__(self, n_pixels, c=16, width=384):
        super().__init__()
        self.embed, self.back = SigmaEmbedding(), nn.Linear(width, 32 * c)
        self.levels = nn.ModuleList(nn.Linear(10, n) for n in (c, *[width] * 4))
        self.dense = nn.ModuleList(nn.Linear(n, width) for n in (32 * c, *[width] * 3))
        self.down, self.up = nn.Conv2d(c, 2 * c, 3, 2, 1), nn.ConvTranspose2d(2 * c, c, 2, 2)
        self.conv = nn.ModuleList(nn.Conv2d(n, c, 3, padding=1) for n in (1, c, c))
        self.write = nn.Conv2d(c, 1, 3, padding=1, bias=False)
        nn.init.zeros_(self.write.weight)  # the score of a Gaussian, to begin with

    def forward(self, x, sigma):
        first, *levels = [level(self.embed(sigma)) for level in self.levels]
        image = self.conv[0](x.reshape(-1, 1, 8, 8)) + first[..., None, None]
        h = silu(coarse := self.down(silu(image))).flatten(1)
        for i, level in enumerate(levels):
            h = silu(self.dense[i](h) + level) + (h if i else 0)
        image = image + self.up(coarse + self.back(h).view_as(coarse))
        return self.write(silu(image + self.conv[2](silu(self.conv[1](silu(image)))))).flatten(1)


def main(budget="full"):
    X, y = load_digits(return_X_y=True)
    gapless = X + np.random.RandomState(0).uniform(-0.5, 0.5, X.shape)  # grey levels are integers
    params = {"standardize": False, "max_steps": 6000 if budget == "full" else 10, "lr": 2e-3}
    model = NCSNGenerator(0.03, module=DigitNet, batch_size=128, random_state=0, **params)
    new = (4.5 * model.fit(gapless / 4.5).sample(250, random_state=0)).round().clip(0, 16)
    judge = LogisticRegression(C=0.01, max_iter=5000).fit(X[::2], y[::2])
    _, axes = plt.subplots(1, 2, figsize=(10, 5.3), layout="constrained")
    for ax, name, digits in zip(axes, ["Real", "Generated"], [X[1::2], new], strict=True):
        print(f"{name}, p > 0.8: {np.mean(judge.predict_proba(digits).max(axis=1) > 0.8):.3f}")
        tiles = np.pad(digits[:100].reshape(10, 10, 8, 8).swapaxes(1, 2), [(0, 0), (1, 1)] * 2)
        ax.imshow(tiles.reshape(100, 100), "gray_r")
        ax.set(title=f"{name} digits", xticks=[], yticks=[])
    plt.show()


if __name__ == "__main__":
    main(budget=os.environ.get("SKSCORE_BUDGET", "full"))
