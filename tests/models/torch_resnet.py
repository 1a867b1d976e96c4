"""The ResNet VAE with IAF posteriors once more, in PyTorch, channels first, one sample a row.

Written from Kingma et al. (2016), section 5.2 and appendix C, and Salimans & Kingma (2016): a
convolution's parameters are V, (k, k, in, out), g and b, as in a model's file. All is in float64.
"""

import torch
from torch.nn.functional import conv2d, elu, interpolate

torch.set_num_threads(1)  # more only wait for each other at these sizes


def normal(z, mean, ln_sd):
    """log N(z; mean, exp(ln_sd)) summed over pixels, map by map."""
    density = torch.distributions.Normal(mean, ln_sd.exp()).log_prob(z)
    return density.sum(dim=(2, 3))


def convolution(p, h, stride=1, mask=None):
    """Weights g V / |V|, of what the mask leaves of V."""
    V = p["V"] if mask is None else p["V"] * mask
    if V.ndim == 2:  # a map of each pixel alone
        V = V[None, None]
    weights = p["g"] * V / (V**2).sum(dim=(0, 1, 2)).sqrt()
    return conv2d(h, weights.permute(3, 2, 0, 1), p["b"], stride, padding=V.shape[0] // 2)


def degree(unit, units, elements):
    """Of `elements` in order, the one that a unit is counted with."""
    return unit * elements // units


def mask_of(num_in, num_out, elements, copies, strict):
    """Weights that come from an earlier pixel, or of the same from an earlier or equal map."""
    mask = torch.zeros(3, 3, num_in, num_out * copies, dtype=torch.float64)
    mask[0] = mask[1, 0] = 1
    for i in range(num_in):
        for o in range(num_out * copies):
            before = degree(i, num_in, elements)
            after = degree(o % num_out, num_out, elements)
            mask[1, 1, i, o] = before < after if strict else before <= after
    return mask


def network(p, z, context, depth_ar, num_outputs):
    """The outputs of the masked network: m, or m and s."""
    n_z, n_h = z.shape[1], context.shape[1]
    widths = [n_z] + [n_h] * depth_ar + [n_z]
    h = z
    for number in range(depth_ar + 1):
        last = number == depth_ar
        sizes = widths[number], widths[number + 1]
        mask = mask_of(*sizes, n_z, num_outputs if last else 1, strict=number == 0)
        h = convolution(p["layers"][str(number)], h if number == 0 else elu(h), mask=mask)
        if number == 0:
            h = h + (convolution(p["context"], context) if "context" in p else context)
    return h.chunk(num_outputs, dim=1)


def posterior(p, kind, mean, ln_sd, context, eps, depth_ar):
    """z and log q(z|x), map by map, by the formula of change of variables (equations 10 to 14)."""
    z = mean + ln_sd.exp() * eps
    log_q = normal(z, mean, ln_sd)
    if kind == "iaf1":
        (m,) = network(p["flow"]["network"], z, context, depth_ar, 1)
        z = z + m / 10
    elif kind == "iaf2":
        m, s = network(p["flow"]["network"], z, context, depth_ar, 2)
        gate = torch.sigmoid(s / 10 + 2)
        log_q = log_q - gate.log().sum(dim=(2, 3))
        z = gate * z + (1 - gate) * m / 10
    return z, log_q


def shuffled(h):
    """Maps (y, x, c) of a pixel become the pixels (y, x) of map c."""
    maps = h.shape[1] // 4
    out = h.new_zeros(h.shape[0], maps, 2 * h.shape[2], 2 * h.shape[3])
    for y in range(2):
        for x in range(2):
            start = (2 * y + x) * maps
            out[:, :, y::2, x::2] = h[:, start : start + maps]
    return out


def byte_density(x, mean, ln_scale):
    """log of a logistic's mass between x and x + 1/256, with the tails in the outermost bins."""
    low, high = (x - mean) / ln_scale.exp(), (x + 1 / 256 - mean) / ln_scale.exp()
    turned = (low + high) > 0  # where both distribution functions are near 1
    low, high = torch.where(turned, -high, low), torch.where(turned, -low, high)
    first, last = x == 0, x == 255 / 256
    below = torch.where(torch.where(turned, last, first), 0.0, torch.sigmoid(low))
    above = torch.where(torch.where(turned, first, last), 1.0, torch.sigmoid(high))
    return (above - below).log().sum(dim=(1, 2, 3))


class Once:
    """One image x, (rows, colours, side, side), to one draw of all latents for each row.

    Parameters
    ----------
    p : dict
        Parameters, a tree of dicts by name.
    levels : list of int
        Of each layer, from the lowest.
    n_z, n_h : int
    posterior : str
    depth_ar : int
    """

    def __init__(self, p, levels, n_z, n_h, posterior, depth_ar):
        self.p, self.levels, self.n_z, self.n_h = p, levels, n_z, n_h
        self.way, self.kind = posterior.split("_")
        self.depth_ar = depth_ar

    def halves(self, i):
        return i > 0 and self.levels[i] > self.levels[i - 1]

    def layer(self, i):
        return self.p["layers"][str(i)]

    def split(self, h, parts):
        """det, then means and logarithms of deviations, then the context, if it is there."""
        sizes = [self.n_h] + [self.n_z] * parts
        sizes += [h.shape[1] - sum(sizes)]
        return h.split(sizes, dim=1)

    def up(self, x, noise):
        """(for each layer what it finds on the way up; or z and log q), from the lowest."""
        h, found, top = convolution(self.p["x_enc"], x - 0.5, stride=2), [], len(self.levels) - 1
        for i in range(len(self.levels)):
            p, stride = self.layer(i), 2 if self.halves(i) else 1
            det, mean, ln_sd, context = self.split(convolution(p["up_conv1"], elu(h), stride), 2)
            found.append((mean, ln_sd, context))
            if self.way == "up":
                found[i] = posterior(p, self.kind, *found[i], noise[i], self.depth_ar)
                det = torch.cat([det, found[i][0]], dim=1)
            if i < top:
                h = h[:, :, ::stride, ::stride] + 0.1 * convolution(p["up_conv2"], elu(det))
        return found

    def __call__(self, x, noise):
        """log q, log p(z), both (rows, layers, n_z) from the highest layer, and log p(x|z)."""
        found, log_q, log_p = self.up(x, noise), [], []
        h = self.p["h_top"].reshape(1, -1, 1, 1).expand(len(x), -1, *noise[-1].shape[2:])
        for i in reversed(range(len(self.levels))):
            p = self.layer(i)
            out = convolution(p["down_conv1"], elu(h))
            if self.way == "up":
                (det, p_mean, p_ln_sd, _), (z, of_q) = self.split(out, 2), found[i]
            else:
                det, p_mean, p_ln_sd, mean, ln_sd, context = self.split(out, 4)
                mean, ln_sd, context = (
                    a + b for a, b in zip(found[i], (mean, ln_sd, context), strict=True)
                )
                z, of_q = posterior(p, self.kind, mean, ln_sd, context, noise[i], self.depth_ar)
            log_q.append(of_q)
            log_p.append(normal(z, p_mean, p_ln_sd))
            branch = convolution(p["down_conv2"], elu(torch.cat([det, z], dim=1)))
            if self.halves(i):
                h, branch = interpolate(h, scale_factor=2, mode="nearest"), shuffled(branch)
            h = h + 0.1 * branch
        mean = (shuffled(0.1 * convolution(self.p["x_dec"], elu(h))) + 0.5).clamp(
            1 / 512, 511 / 512
        )
        return (
            torch.stack(log_q, 1),
            torch.stack(log_p, 1),
            byte_density(x, mean, self.p["ln_scale"]),
        )


def tree(parameters):
    """Nested dicts of {"layers/0/up_conv1/V": array, …}, and the tensors by these names."""
    tensors = {
        name: torch.tensor(array, dtype=torch.float64, requires_grad=True)
        for name, array in parameters.items()
    }
    nested = {}
    for name, tensor in tensors.items():
        *path, last = name.split("/")
        at = nested
        for part in path:
            at = at.setdefault(part, {})
        at[last] = tensor
    return nested, tensors
