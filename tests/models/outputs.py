"""What layers give while a link runs."""

import chainer

from jvi.models.weight_norm import NormConv, NormDense


class Outputs(chainer.LinkHook):
    """What each weight-normalised layer gives, by its name."""

    name = "Outputs"

    def __init__(self, link):
        super().__init__()
        self.names = {id(each): name for name, each in link.namedlinks()}
        self.found = {}

    def forward_postprocess(self, args):
        if isinstance(args.link, NormConv | NormDense):
            self.found[self.names[id(args.link)]] = args.out.array
