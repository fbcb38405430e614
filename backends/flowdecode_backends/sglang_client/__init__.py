"""The backend `sglang://host:port`: token ids over HTTP to an SGLang server, or to its gateway."""

from flowdecode_backends.sglang_client.backend import SGLang, open_sglang

__all__ = ["SGLang", "open_sglang"]
