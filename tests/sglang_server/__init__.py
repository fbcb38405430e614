"""The real SGLang server on a machine with no GPU: installed, started and ended by the tests."""
