"""Count the terms of the jackknife objective, and what it costs here.

Usage:
  jvicount.py [options] <n> <order>
  jvicount.py (-h | --help)

Prints the number of subsets that JVI's definition averages over for n samples and the given order
(order zero is the IWAE bound), exactly, for any n. This project does not enumerate them.

Options:
  -h --help    Show this help screen.
"""

from jvi.cli import UsageError, arguments_of, command, number

DIGITS = 10_000  # a second of work at most, whatever n and order


@command
def main(argv=None):
    from decimal import Decimal

    arguments, _ = arguments_of(__doc__, argv)
    n = number(arguments, "<n>", least=1, most=10**15)
    order = number(arguments, "<order>", least=0, most=10**15)
    if order >= n:
        raise UsageError(f"<order>: order {order} needs more than {order} samples, not {n}")
    digits = _digits(n, order)
    if digits > DIGITS:
        raise UsageError(
            f"<n> {n} and <order> {order}: the number has about {digits:.0f} digits, and at most "
            f"{DIGITS} are printed"
        )
    print(f"{Decimal(subsets(n, order)):f}")  # Python's own integers print 4,300 digits


def _digits(n, order):
    """About how many digits the largest term has, C(n, min(order, n // 2))."""
    from math import lgamma, log

    j = min(order, n // 2)
    # For j far below n the logarithms of both factorials of n would cancel.
    falling = j * log(n) if j < n // 1000 else lgamma(n + 1) - lgamma(n - j + 1)
    return (falling - lgamma(j + 1)) / log(10)


def subsets(n, order):
    """Σ C(n, j) over j = 0..order."""
    total = term = 1
    for j in range(order):
        term = term * (n - j) // (j + 1)
        total += term
    return total


if __name__ == "__main__":
    main()
