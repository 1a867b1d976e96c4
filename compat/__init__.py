"""What speaks to the past, and nothing else: Chainer 7.8.1 on a modern stack, and the formats and
names of the original 2018 code."""
