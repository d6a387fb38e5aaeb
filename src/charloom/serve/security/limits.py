"""Limits on requests and on the server's load."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of the server. A request that exceeds one is rejected with an error that states the limit.

    The limits of single request fields are part of the published API and always have their default values. The others
    may differ between servers.

    Attributes:
        max_body_bytes: Size of a request body.
        max_body_seconds: Time in which a body must arrive.
        max_discarded_bytes: Bytes of a rejected body to read, so that its client receives the response.
        max_discarded_seconds: Time to read a rejected body.
        max_header_bytes: Size of the request line and headers.
        max_header_seconds: Time in which the request line and headers must arrive.
        max_json_depth: Nesting depth of lists and objects in a body.
        max_json_parts: Number of strings, lists and objects in a body.
        max_prompts: Prompts in one request.
        max_prompt_characters: Characters of a prompt or any other text.
        max_choices: Texts per prompt: ``n``, ``best_of``.
        max_texts: Texts in one request: prompts times choices.
        max_characters: Characters generated for one request: prompts times choices times ``max_tokens``.
        max_stop_strings: Stop sequences in one request.
        max_stop_characters: Characters of a stop sequence.
        max_biases: Entries of ``logit_bias``.
        max_logprobs: Top predictions at each position: ``logprobs``.
        max_next_guesses: Top predictions that ``/guesses`` returns.
        max_label_characters: Characters of ``user`` and of a model name.
        max_active_texts: Texts that one model generates at the same time.
        max_waiting_texts: Texts in the queue of one model.
        max_unread_characters: Unread characters of a request at which its generation pauses.
        max_unread_seconds: Time after which a client that does not read is disconnected.
        max_request_seconds: Time to process one request.
        min_event_seconds: Minimum time between two events of a stream.
        max_idle_seconds: Time after which an idle connection is closed.
        max_closing_seconds: Time to send the last event of each stream at shutdown.
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
    max_stop_strings: int = 16
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
