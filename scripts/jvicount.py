"""Count the terms of the jackknife objective, and what it costs here.

Usage:
  jvicount.py [options] <n> <order>
  jvicount.py (-h | --help)

Prints the number of subsets that JVI's definition averages over for n samples and the given order
(order zero is the IWAE bound), exactly, for any n. This project does not enumerate them.

Options:
  -h --help    Show this help screen.
"""

from docopt import docopt

from jvi.cli import command, number


@command
def main(argv=None):
    from jvi.evidence.jackknife import count_terms

    arguments = docopt(__doc__, argv)
    n, order = number(arguments, "<n>", least=1), number(arguments, "<order>", least=0)
    if order >= n:
        raise ValueError(f"order {order} needs more than {order} samples, not {n}")
    print(sum(count for _, count, _ in count_terms(n, order)))


if __name__ == "__main__":
    main()
