"""PASTA (arXiv 2502.11517): a model that marks the asynchronous parts of its answer itself."""
