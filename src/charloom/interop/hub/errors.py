"""Turn errors of ``huggingface_hub`` into clear messages.

What a server says is quoted, shortened and stripped of control characters, as it goes to a terminal.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from charloom._util.printable import quoted
from charloom.errors import CharloomError, HubError, InputError

LOGIN = "`hf auth login` stores a token, and HF_TOKEN names one"


@contextmanager
def translate_errors(repo: str, endpoint: str, has_token: bool) -> Iterator[None]:
    """Translate whatever ``huggingface_hub`` raises to an error with one clear message.

    Nothing but calls of that library belongs inside: what it makes of an answer that is none of the Hub's can be any
    exception at all.

    Args:
        repo: OWNER/NAME.
        endpoint: The address that was asked.
        has_token: Whether a token was sent.

    Raises:
        InputError: If there is no such model, revision or file, or the Hub refuses what was sent.
        HubError: If the Hub cannot be reached, does not let it be done, or answers nonsense.
    """
    try:
        yield
    except CharloomError:
        raise
    except Exception as error:
        raise _translate(_cause(error), repo, endpoint, has_token) from error


def _cause(error: Exception) -> Exception:
    """Return the HTTP error that the library wrapped in another exception, else the error itself."""
    from huggingface_hub.errors import HfHubHTTPError

    cause = error.__cause__
    wraps = isinstance(error, RuntimeError | ValueError) and not isinstance(error, HfHubHTTPError)
    # the bases of that error are OSError and whatever the HTTP library beneath raises
    return cause if wraps and isinstance(cause, HfHubHTTPError.__bases__) and isinstance(cause, Exception) else error


def _translate(error: Exception, repo: str, endpoint: str, has_token: bool) -> CharloomError:
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled):
        return HubError(f"{endpoint} was not asked, because HF_HUB_OFFLINE is set. Unset it to use the Hub.")
    if isinstance(error, errors.GatedRepoError):
        return HubError(f"{repo} is given only to those who accept its terms, at {endpoint}/{repo}; then try again.")
    if isinstance(error, errors.RepositoryNotFoundError):
        return _not_found_error(repo, endpoint)
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError(f"{repo} has no such revision. Accepted are a branch, a tag or a commit of it.")
    if isinstance(error, errors.EntryNotFoundError):
        return InputError(
            f"{repo} holds no model.safetensors: it is no model that `charloom push` made. "
            f"What it holds is listed at {endpoint}/{repo}/tree/main."
        )
    if isinstance(error, errors.HfHubHTTPError):
        return _http_error(error.response.status_code, error.server_message, repo, endpoint, has_token)
    if isinstance(error, errors.HfHubHTTPError.__bases__):
        reason = quoted(str(error).partition("\n")[0] or type(error).__name__)
        return HubError(f"The connection to {endpoint} failed: {reason}. Is there a network? Try again.")
    return HubError(
        f"{endpoint} answered with something that is no answer of a Hub ({type(error).__name__}). "
        "HF_ENDPOINT, where it is set, must name a Hub; a proxy may have answered in its place."
    )


def _not_found_error(repo: str, endpoint: str) -> CharloomError:
    return InputError(
        f"There is no model {repo} at {endpoint}, or it is private and your token does not reach it. "
        f"Accepted is OWNER/NAME as its address has it; {LOGIN}."
    )


def _http_error(status: int, server_message: str | None, repo: str, endpoint: str, has_token: bool) -> CharloomError:
    """Return the error for a response with an HTTP status of 400 or more."""
    says = f" It says: {quoted(server_message)}." if server_message else ""
    if status == 404 or (status == 401 and not has_token):
        return _not_found_error(repo, endpoint)
    if status == 401:
        return HubError(
            f"{endpoint} does not accept your token. A new one is made at {endpoint}/settings/tokens; {LOGIN}."
        )
    if status == 403:
        return HubError(
            f"Your token may not do this with {repo}. It must be one that may write, for that owner: "
            f"{endpoint}/settings/tokens.{says}"
        )
    if status in (409, 412):
        return HubError(f"{repo} is being changed by somebody else at this moment. Try again.{says}")
    if status == 429:
        return HubError(f"{endpoint} has been asked too often. Try again later.{says}")
    if status >= 500:
        return HubError(f"{endpoint} has an error of its own (HTTP status {status}). Try again later.{says}")
    return InputError(f"{endpoint} refused the request for {repo} (HTTP status {status}).{says}")
