r"""
Generate a table
================

178 wines, 13 measurements of each. One network learns their score, blurred by noise of any size,

.. math:: s(x, \sigma) \approx \nabla \log p_\sigma(x), \qquad p_\sigma = p * N(0, \sigma^2 I) ,

and a solver takes noise along :math:`dx/d\sigma = -\sigma\, s(x, \sigma)` to wines never bottled.
"""

import os
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine

from skscore import NCSNGenerator
from skscore.metrics import c2st, copy_rate


def main(budget="full"):
    wine = load_wine(as_frame=True).data.astype({"magnesium": int, "proline": int})
    max_steps, start = "auto" if budget == "full" else 200, time.perf_counter()
    generator = NCSNGenerator(max_steps=max_steps, verbose=True, random_state=0).fit(wine)
    print(f"\ntime to fit                            {time.perf_counter() - start:.1f} s")
    synthetic = generator.sample(len(wine), random_state=0).round(2)  # two decimals, like the wines
    synthetic.to_csv("synthetic.csv", index=False)
    real, new = ((table - wine.mean()) / wine.std() for table in (wine, synthetic))
    r_real, r_new = real.corr().values, new.corr().values
    print(f"rows, real and synthetic               {len(wine)}, {len(synthetic)}")
    print(f"C2ST, 0.5 where trees cannot tell      {c2st(real, new, random_state=0):.2f}")
    print(f"mean |difference of correlations|      {np.abs(r_real - r_new).sum() / (13 * 12):.3f}")
    print(f"copies of real rows: among synthetic   {copy_rate(new, real):.3f}")
    print(f"                     among the real    {copy_rate(real, real, exclude_self=True):.3f}")
    names = ["alcohol", "flavanoids", "color_intensity", "proline"]
    plt.rcParams["axes.prop_cycle"] = plt.cycler(color=["#33638d", "#e8833a"])
    fig, axes = plt.subplots(4, 4, figsize=(11, 9), sharex="col")
    fig.subplots_adjust(0.07, 0.06, 0.98, 0.97, wspace=0.06, hspace=0.06)
    for (i, j), ax in np.ndenumerate(axes):
        ax.set(xlabel=names[j], ylabel=names[i] if i else "rows", visible=i >= j)
        if i == j:
            ax.hist([wine[names[i]], synthetic[names[i]]], 14, label=["real", "synthetic"])
        for table in (wine, synthetic) if i > j else ():
            ax.plot(table[names[j]], table[names[i]], ".", alpha=0.65)
        ax.label_outer(remove_inner_ticks=True)
    axes[0, 0].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    ax, bar = fig.add_axes((0.68, 0.58, 0.3, 0.367)), fig.add_axes((0.68, 0.56, 0.3, 0.012))
    image = ax.imshow(np.tril(r_real) + np.triu(r_new, 1), "RdBu_r", vmin=-1, vmax=1)
    ax.set(title="correlations: real lower, synthetic upper", xticks=[])
    ax.set_yticks(range(13), wine.columns.str.removesuffix("_of_diluted_wines"))
    fig.colorbar(image, cax=bar, orientation="horizontal", ticks=[-1, -0.5, 0, 0.5, 1])
    fig.savefig("synthetic.png")
    plt.show()


if __name__ == "__main__":
    main(budget=os.environ.get("SKSCORE_BUDGET", "full"))
