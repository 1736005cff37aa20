"""Other people's features and matchers, with the weights of the `peers` extra: to compare with, not to train on."""
