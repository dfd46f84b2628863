"""Slow derivatives to test against, one backward pass at a time."""

import torch


def gradients_by_loop(function, x, sigma):
    """The gradient of each row's number, (n, d), one backward pass a row."""
    rows = []
    for i in range(len(x)):
        row = x[i : i + 1].clone().requires_grad_()
        value = function(row, sigma[i : i + 1]).squeeze()
        rows.append(torch.autograd.grad(value, row, create_graph=True)[0][0])
    return torch.stack(rows)


def jacobians_by_loop(function, x, sigma):
    """The Jacobian of each row's vector, (n, d, d), one backward pass for each row and output."""
    outputs = [
        gradients_by_loop(lambda x, sigma, j=j: function(x, sigma)[:, j], x, sigma)
        for j in range(x.shape[1])
    ]
    return torch.stack(outputs, 1)


def diagonals_by_loop(function, x, sigma):
    """The diagonals of the Jacobians, (n, d)."""
    return jacobians_by_loop(function, x, sigma).diagonal(dim1=1, dim2=2)
