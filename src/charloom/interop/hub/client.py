"""Push models to the Hugging Face Hub and pull them, with ``huggingface_hub``.

A model is a repository there that holds ``model.safetensors``. What comes from there is hostile until it is checked:
no more is read than was announced, and that may not be much; it never lies on the disk before it has been verified.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from charloom._util.extras import require_extra
from charloom._util.printable import quoted
from charloom._version import __version__
from charloom.errors import CharloomError, HubError, InputError
from charloom.model.file.run_folder import MODEL

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MAX_MODEL_BYTES = 2_000_000_000
"""Maximum size of a model that is downloaded: 500 million parameters as float32."""

TIMEOUT_SECONDS = 30.0
"""Timeout of requests, in seconds."""

_SEGMENT = "[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_REPO = re.compile(rf"{_SEGMENT}/({_SEGMENT})")
_COMMIT = re.compile("[0-9a-f]{7,64}")
_USER_AGENT: dict[str, Any] = {"library_name": "charloom", "library_version": __version__}
_ENVIRONMENT = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
"""What the environment is given where it says nothing: versions and programs in use are nobody's business, and models
of a few megabytes go by plain HTTP."""


@dataclass(frozen=True)
class PushResult:
    """The result of an upload.

    Attributes:
        url: Address of the repository.
        commit: The commit that was made.
        existed: Whether the repository existed before.
    """

    url: str
    commit: str
    existed: bool


@dataclass(frozen=True)
class PullResult:
    """A downloaded model file that has not been verified.

    Attributes:
        data: The bytes of the file.
        commit: The commit that it belongs to.
    """

    data: bytes
    commit: str


def repo_name(repo: str) -> str:
    """Return NAME of OWNER/NAME, which is also a safe file name.

    Raises:
        InputError: If ``repo`` is not of that form.
    """
    match = _REPO.fullmatch(repo)
    if match is None or "--" in repo or ".." in repo or repo.endswith(".git"):
        raise InputError(
            f"{repo!r} is no place on the Hub. It must be OWNER/NAME, such as ada/my-book: each of at most 96 letters, "
            "digits, '-', '_' and '.', with '-' and '.' inside only, never '--' or '..', and no .git at the end."
        )
    return match[1]


def require_hub() -> None:
    """Raise ``MissingExtraError`` if ``huggingface_hub`` is not installed."""
    require_extra("To reach the Hub, charloom", "hub", "huggingface_hub")


def push(repo: str, files: Mapping[str, bytes], message: str, private: bool = False) -> PushResult:
    """Upload files to a model repository as one commit; the repository is created if it does not exist.

    Args:
        repo: OWNER/NAME.
        files: Contents by name. Other files of the repository stay.
        message: The commit message.
        private: Whether a new repository is private.

    Raises:
        InputError: If the name cannot be, the repository is public although ``private`` was asked for, or the Hub
            refuses a file.
        MissingExtraError: If ``huggingface_hub`` is not installed.
        HubError: If there is no token, the Hub cannot be reached, or does not let it be done.
    """
    repo_name(repo)
    api, token = _api()
    if not token:
        raise HubError(f"To push, the Hub must know who you are, and there is no token: {LOGIN}.")
    from huggingface_hub import CommitOperationAdd

    with translate_errors(repo, api.endpoint, has_token=True):
        existed = _ensure_repo(api, repo, private)
        additions = [CommitOperationAdd(name, data) for name, data in files.items()]
        commit = api.create_commit(repo, additions, commit_message=message)
        entries = api.get_paths_info(repo, list(files), revision=commit.oid)
        sizes = {entry.path: getattr(entry, "size", None) for entry in entries}
    for name, data in files.items():
        if sizes.get(name) != len(data):  # such as a .gitignore in the repository makes it
            raise HubError(f"{repo} has no {name} of {len(data):,} bytes after the upload, although the Hub took it.")
    return PushResult(f"{api.endpoint}/{repo}", _checked_commit(commit.oid, api.endpoint), existed)


def pull(repo: str, revision: str | None = None) -> PullResult:
    """Fetch the model file of a repository; it is to be verified before anything else is done with it.

    Args:
        repo: OWNER/NAME.
        revision: A branch, tag or commit; None for the main branch.

    Raises:
        InputError: If the name cannot be, there is no such model, revision or file, or it is too large.
        MissingExtraError: If ``huggingface_hub`` is not installed.
        HubError: If the Hub cannot be reached, does not let it be done, or sends something else than it announced.
    """
    repo_name(repo)
    api, token = _api()
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented there

    headers = {**build_hf_headers(**_USER_AGENT), "Accept-Encoding": "identity"}  # what is sent is what is counted
    with translate_errors(repo, api.endpoint, bool(token)):
        metadata = get_hf_file_metadata(
            hf_hub_url(repo, MODEL, revision=revision), headers=headers, timeout=TIMEOUT_SECONDS
        )
    commit, size = _checked_commit(metadata.commit_hash, api.endpoint), metadata.size
    if size is None or not 0 < size <= MAX_MODEL_BYTES:
        raise InputError(_too_large(repo, size))
    received = _BoundedBuffer(size)
    with translate_errors(
        repo, api.endpoint, bool(token)
    ):  # of just that commit; the token is not sent on to other hosts
        http_get(hf_hub_url(repo, MODEL, revision=commit), received, headers=headers, expected_size=size)
    return PullResult(received.getvalue(), commit)


class _BoundedBuffer(BytesIO):
    """A file in memory that refuses to become larger than it was announced to be."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self._max_bytes = max_bytes

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > self._max_bytes:
            raise HubError(f"More was sent than the {self._max_bytes:,} bytes that were announced; nothing was kept.")
        return super().write(data)


def _api() -> tuple[HfApi, str | None]:
    """Return the API client, configured to be quiet and to time out, and the token that it sends."""
    require_hub()
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from huggingface_hub import HfApi, constants, get_session, get_token
    from huggingface_hub.utils.tqdm import disable_progress_bars

    # its warnings quote servers, whose words may not go to a terminal as they are
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    disable_progress_bars()
    get_session().timeout = TIMEOUT_SECONDS
    return HfApi(constants.ENDPOINT, **_USER_AGENT), get_token()


def _ensure_repo(api: HfApi, repo: str, private: bool) -> bool:
    """Create a repository if it does not exist, and return whether it existed."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.model_info(repo, timeout=TIMEOUT_SECONDS)
    except RepositoryNotFoundError:
        api.create_repo(repo, private=True if private else None, exist_ok=True)
        return False
    if private and not info.private:
        raise InputError(
            f"{repo} is there already, and public: --private is for a new one. Leave it out, name another, "
            f"or make it private at {api.endpoint}/{repo}/settings."
        )
    return True


def _checked_commit(commit: object, endpoint: str) -> str:
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise HubError(f"{endpoint} did not say of which commit its answer is, as a Hub does.")
    return commit


def _too_large(repo: str, size: int | None) -> str:
    told = f"is said to have {size:,} bytes" if size is not None else "is of a size that is not told"
    return (
        f"{MODEL} of {repo} {told}; accepted are 1 to {MAX_MODEL_BYTES:,}. If you trust it, "
        f"`hf download {repo} {MODEL}` fetches it, and `charloom info` checks it."
    )


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
