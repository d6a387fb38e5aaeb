"""Limits per request and per server."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of the server. A request beyond one is rejected with a message that names it.

    Limits of single fields are part of the published API and always have their defaults; the rest may differ between
    servers.

    Attributes:
        max_body_bytes: Size of a request body.
        max_body_seconds: Time in which a body must arrive.
        max_discarded_bytes: Bytes read of a rejected body, so that its client receives the response.
        max_discarded_seconds: Time for which such a body is read.
        max_header_bytes: Size of a request head.
        max_header_seconds: Time in which a request head must arrive.
        max_json_depth: Nesting depth of lists and objects in a body.
        max_json_parts: Number of strings, lists and objects in a body.
        max_prompts: Prompts in one request.
        max_prompt_characters: Characters of a prompt, or of any other text.
        max_choices: Texts per prompt: ``n``, ``best_of``.
        max_texts: Texts in one request: prompts times choices.
        max_characters: Characters generated for one request: prompts times choices times ``max_tokens``.
        max_stop_strings: Stop strings in one request.
        max_stop_characters: Characters of a stop string.
        max_biases: Characters that ``logit_bias`` may name.
        max_logprobs: Most likely characters at each position: ``logprobs``.
        max_next_guesses: Most likely characters that ``/guesses`` returns.
        max_label_characters: Characters of ``user`` and of a model's name.
        max_active_texts: Texts that one model generates at once.
        max_waiting_texts: Texts that may wait for their turn.
        max_unread_characters: Characters of a request that may wait for the client before its generation pauses.
        max_unread_seconds: Time for which a client may read nothing.
        max_request_seconds: Time for one request.
        min_event_seconds: Time between two events of a stream; characters generated meanwhile share one event.
        max_idle_seconds: Time for which a connection without a request stays open.
        max_closing_seconds: Time that streams have for their last event when the server shuts down.
    """

    max_body_bytes: int = 1 << 20
    max_body_seconds: float = 10.0
    max_discarded_bytes: int = 16 << 20
    max_discarded_seconds: float = 2.0
    max_header_bytes: int = 16 << 10
    max_header_seconds: float = 10.0
    max_json_depth: int = 16
    max_json_parts: int = 4096
    max_prompts: int = 32
    max_prompt_characters: int = 100_000
    max_choices: int = 16
    max_texts: int = 64
    max_characters: int = 200_000
    max_stop_strings: int = 4
    max_stop_characters: int = 64
    max_biases: int = 1024
    max_logprobs: int = 5
    max_next_guesses: int = 10
    max_label_characters: int = 256
    max_active_texts: int = 64
    max_waiting_texts: int = 64
    max_unread_characters: int = 16_384
    max_unread_seconds: float = 30.0
    max_request_seconds: float = 600.0
    min_event_seconds: float = 0.01
    max_idle_seconds: int = 10
    max_closing_seconds: float = 1.0
