"""Limits per request and per server."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What is served; more is refused with a message that names the limit.

    Those of single fields are part of the published API and are taken from the defaults; the others may differ from
    server to server.

    Attributes:
        body_bytes: Of a request's body.
        body_seconds: In which it must have arrived.
        discarded_bytes: Of a body that is refused unread, so that its client comes to see the answer.
        discarded_seconds: For which it is taken.
        header_bytes: Of a request's head.
        header_seconds: In which a request's head must have arrived.
        json_depth: How deep lists and objects of a body may lie in one another.
        json_parts: How many strings, lists and objects it may have.
        prompts: In one request.
        prompt_characters: Of one prompt, or of any other text.
        choices: Texts that go on from one prompt: ``n``, ``best_of``.
        texts: Texts of one request: prompts times choices.
        characters: Written for one request: prompts times choices times ``max_tokens``.
        stop_strings: In one request.
        stop_characters: Of each.
        biases: Characters that ``logit_bias`` may name.
        guesses: The likeliest characters told at each place: ``logprobs``.
        next_guesses: The same, of ``/guesses``, which tells those of one place alone.
        label_characters: Of ``user``, and of a model's name.
        writings: Texts that one model writes at once.
        waiting: Texts that may wait for their turn.
        unread: Characters of a request that may wait to be sent before its writing pauses.
        unread_seconds: How long a client may read nothing of what is sent to it.
        request_seconds: How long one request may take in all.
        event_seconds: Between two events of a stream, at least: what is written meanwhile goes into one.
        idle_seconds: How long a connection without a request stays open.
        closing_seconds: How long streams that end with the server may take to say so.
    """

    body_bytes: int = 1 << 20
    body_seconds: float = 10.0
    discarded_bytes: int = 16 << 20
    discarded_seconds: float = 2.0
    header_bytes: int = 16 << 10
    header_seconds: float = 10.0
    json_depth: int = 16
    json_parts: int = 4096
    prompts: int = 32
    prompt_characters: int = 100_000
    choices: int = 16
    texts: int = 64
    characters: int = 200_000
    stop_strings: int = 4
    stop_characters: int = 64
    biases: int = 1024
    guesses: int = 5
    next_guesses: int = 10
    label_characters: int = 256
    writings: int = 64
    waiting: int = 64
    unread: int = 16_384
    unread_seconds: float = 30.0
    request_seconds: float = 600.0
    event_seconds: float = 0.01
    idle_seconds: int = 10
    closing_seconds: float = 1.0
