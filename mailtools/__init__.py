"""A whole mail server as small Unix commands around a queue and Maildirs."""

__version__ = "0.1.0"
