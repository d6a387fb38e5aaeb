"""Push models to the Hugging Face Hub and pull them, with ``huggingface_hub``.

A model is a repository that contains ``model.safetensors``. Downloads are untrusted: charloom reads no more bytes than
the Hub announced, limits that number, and verifies a model in memory before it writes it to disk.
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
"""Defaults for unset environment variables: no telemetry, and plain HTTP for models of a few megabytes."""


@dataclass(frozen=True)
class PushResult:
    """The result of an upload.

    Attributes:
        url: Address of the repository.
        commit: The new commit.
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
        commit: The commit that contains the file.
    """

    data: bytes
    commit: str


def repo_name(repo: str) -> str:
    """Return NAME of OWNER/NAME, which is also a safe file name.

    Raises:
        InputError: If ``repo`` is not a valid repository name.
    """
    match = _REPO.fullmatch(repo)
    if match is None or "--" in repo or ".." in repo or repo.endswith(".git"):
        raise InputError(
            f"Invalid Hub repository {repo!r}. Expected OWNER/NAME, such as ada/my-book: at most 96 letters, digits, "
            "'-', '_' and '.' each, without '--' or '..', without '-' or '.' at either end, and without .git at the "
            "end.",
            code="invalid_repository_name",
            repository=repo,
        )
    return match[1]


def require_hub() -> None:
    """Raise ``MissingExtraError`` if ``huggingface_hub`` is not installed."""
    require_extra("To reach the Hub, charloom", "hub", "huggingface_hub")


def push(repo: str, files: Mapping[str, bytes], message: str, private: bool = False) -> PushResult:
    """Upload files to a model repository as one commit; the repository is created if it does not exist.

    Args:
        repo: OWNER/NAME.
        files: Contents by file name. Other files in the repository are left unchanged.
        message: The commit message.
        private: Whether a new repository is private.

    Raises:
        InputError: If the name is invalid, ``private`` is requested for an existing public repository, or the Hub
            refuses a file.
        MissingExtraError: If ``huggingface_hub`` is not installed.
        HubError: If there is no token, the Hub is unreachable, or the token lacks permission.
    """
    repo_name(repo)
    api, token = _api()
    if not token:
        raise HubError(f"Pushing requires a Hugging Face token, and none was found. {LOGIN}.", code="hub_token_missing")
    from huggingface_hub import CommitOperationAdd

    with translate_errors(repo, api.endpoint, has_token=True):
        existed = _ensure_repo(api, repo, private)
        additions = [CommitOperationAdd(name, data) for name, data in files.items()]
        commit = api.create_commit(repo, additions, commit_message=message)
        entries = api.get_paths_info(repo, list(files), revision=commit.oid)
        sizes = {entry.path: getattr(entry, "size", None) for entry in entries}
    for name, data in files.items():
        if sizes.get(name) != len(data):  # for example, a .gitignore in the repository excludes the file
            raise HubError(
                f"The Hub accepted the upload, but {repo} does not contain {name} with {len(data):,} bytes. Check the "
                "repository's .gitignore.",
                code="hub_upload_incomplete",
                repository=repo,
                file=name,
                size=len(data),
            )
    return PushResult(f"{api.endpoint}/{repo}", _checked_commit(commit.oid, api.endpoint), existed)


def pull(repo: str, revision: str | None = None) -> PullResult:
    """Download the model file of a repository. The caller must verify it before using it.

    Args:
        repo: OWNER/NAME.
        revision: A branch, tag or commit; None for the main branch.

    Raises:
        InputError: If the name is invalid, the model, revision or file does not exist, or the file is too large.
        MissingExtraError: If ``huggingface_hub`` is not installed.
        HubError: If the Hub is unreachable, refuses access, or sends more than it announced.
    """
    repo_name(repo)
    api, token = _api()
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented there

    headers = {**build_hf_headers(**_USER_AGENT), "Accept-Encoding": "identity"}  # so that the sizes can be compared
    with translate_errors(repo, api.endpoint, bool(token)):
        metadata = get_hf_file_metadata(
            hf_hub_url(repo, MODEL, revision=revision), headers=headers, timeout=TIMEOUT_SECONDS
        )
    commit, size = _checked_commit(metadata.commit_hash, api.endpoint), metadata.size
    if size is None or not 0 < size <= MAX_MODEL_BYTES:
        raise _size_error(repo, size)
    received = _BoundedBuffer(size)
    with translate_errors(repo, api.endpoint, bool(token)):
        # downloads exactly that commit; http_get does not forward the token to other hosts
        http_get(hf_hub_url(repo, MODEL, revision=commit), received, headers=headers, expected_size=size)
    return PullResult(received.getvalue(), commit)


class _BoundedBuffer(BytesIO):
    """An in-memory file with a maximum size."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self._max_bytes = max_bytes

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > self._max_bytes:
            raise HubError(
                f"The Hub announced {self._max_bytes:,} bytes and sent more. The download was discarded.",
                code="hub_download_too_long",
                announced=self._max_bytes,
            )
        return super().write(data)


def _api() -> tuple[HfApi, str | None]:
    """Return an API client without progress bars and with a timeout, and the token that it sends."""
    require_hub()
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from huggingface_hub import HfApi, constants, get_session, get_token
    from huggingface_hub.utils.tqdm import disable_progress_bars

    # its warnings quote text from servers, which must be escaped before it is shown on a terminal
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
            f"{repo} already exists and is public; --private applies to new repositories only. Omit --private, choose "
            f"another name, or make the repository private at {api.endpoint}/{repo}/settings.",
            code="hub_repository_public",
            repository=repo,
        )
    return True


def _checked_commit(commit: object, endpoint: str) -> str:
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise HubError(
            f"The response of {endpoint} does not name a commit, so it is not from a Hugging Face Hub. Check "
            "HF_ENDPOINT.",
            code="hub_invalid_response",
            endpoint=endpoint,
        )
    return commit


def _size_error(repo: str, size: int | None) -> InputError:
    actual = "of unknown size" if size is None else f"{size:,} bytes long"
    return InputError(
        f"{MODEL} in {repo} is {actual}; charloom downloads 1 to {MAX_MODEL_BYTES:,} bytes. If you trust the file, "
        f"download it with `hf download {repo} {MODEL}` and check it with `charloom info`.",
        code="hub_file_size",
        repository=repo,
        size=size,
        maximum=MAX_MODEL_BYTES,
    )


LOGIN = "Run `hf auth login`, or set HF_TOKEN"


@contextmanager
def translate_errors(repo: str, endpoint: str, has_token: bool) -> Iterator[None]:
    """Translate any exception of ``huggingface_hub`` to an error with one clear message.

    Put only calls of that library inside the block: if a server is not a Hub, the library can raise any exception.

    Args:
        repo: OWNER/NAME.
        endpoint: Address of the Hub.
        has_token: Whether a token was sent.

    Raises:
        InputError: If the model, revision or file does not exist, or the Hub refuses the request.
        HubError: If the Hub is unreachable, refuses access, or sends an invalid response.
    """
    try:
        yield
    except CharloomError:
        raise
    except Exception as error:
        raise _translate(_cause(error), repo, endpoint, has_token) from error


def _cause(error: Exception) -> Exception:
    """Return the HTTP error that the library wrapped in another exception, or else the error itself."""
    from huggingface_hub.errors import HfHubHTTPError

    cause = error.__cause__
    wraps = isinstance(error, RuntimeError | ValueError) and not isinstance(error, HfHubHTTPError)
    # the bases of that error are OSError and the base error of the underlying HTTP library
    return cause if wraps and isinstance(cause, HfHubHTTPError.__bases__) and isinstance(cause, Exception) else error


def _translate(error: Exception, repo: str, endpoint: str, has_token: bool) -> CharloomError:
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled):
        return HubError(
            f"HF_HUB_OFFLINE is set, so {endpoint} was not contacted. Unset it to use the Hub.", code="hub_offline"
        )
    if isinstance(error, errors.GatedRepoError):
        return HubError(
            f"{repo} requires you to accept its terms. Accept them at {endpoint}/{repo}, then try again.",
            code="hub_terms_not_accepted",
            repository=repo,
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return _not_found_error(repo, endpoint)
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError(
            f"{repo} does not have this revision. Pass one of its branches, tags or commits.",
            code="hub_revision_not_found",
            repository=repo,
        )
    if isinstance(error, errors.EntryNotFoundError):
        return InputError(
            f"{repo} does not contain {MODEL}, so it is not a charloom model. Its files are listed at "
            f"{endpoint}/{repo}/tree/main.",
            code="hub_file_not_found",
            repository=repo,
            file=MODEL,
        )
    if isinstance(error, errors.HfHubHTTPError):
        return _http_error(error.response.status_code, error.server_message, repo, endpoint, has_token)
    if isinstance(error, errors.HfHubHTTPError.__bases__):
        reason = quoted(str(error).partition("\n")[0] or type(error).__name__)
        return HubError(
            f"Cannot connect to {endpoint}: {reason}. Check the network connection, then try again.",
            code="hub_unreachable",
            endpoint=endpoint,
            reason=reason,
        )
    return HubError(
        f"The response of {endpoint} is not one of a Hugging Face Hub ({type(error).__name__}). Check HF_ENDPOINT and "
        "any proxy.",
        code="hub_invalid_response",
        endpoint=endpoint,
    )


def _not_found_error(repo: str, endpoint: str) -> CharloomError:
    return InputError(
        f"{repo} does not exist at {endpoint}, or it is private and your token does not grant access. Check the name. "
        f"{LOGIN}.",
        code="hub_repository_not_found",
        repository=repo,
    )


def _http_error(status: int, server_message: str | None, repo: str, endpoint: str, has_token: bool) -> CharloomError:
    """Return the error for a response with an HTTP status of 400 or more."""
    reply = f" The server replied: {quoted(server_message)}." if server_message else ""
    data = {"repository": repo, "status": status}
    if status == 404 or (status == 401 and not has_token):
        return _not_found_error(repo, endpoint)
    if status == 401:
        return HubError(
            f"{endpoint} rejected your token. Create a new one at {endpoint}/settings/tokens. {LOGIN}.",
            code="hub_token_rejected",
            **data,
        )
    if status == 403:
        return HubError(
            f"Your token does not grant write access to {repo}. Create one that does at {endpoint}/settings/tokens."
            f"{reply}",
            code="hub_permission_denied",
            **data,
        )
    if status in (409, 412):
        return HubError(f"{repo} is being changed by another process. Try again.{reply}", code="hub_conflict", **data)
    if status == 429:
        return HubError(
            f"{endpoint} received too many requests. Try again later.{reply}", code="hub_rate_limit", **data
        )
    if status >= 500:
        return HubError(
            f"{endpoint} failed with HTTP status {status}. Try again later.{reply}", code="hub_server_error", **data
        )
    return InputError(
        f"{endpoint} refused the request for the repository {repo} with HTTP status {status}.{reply}",
        code="hub_request_refused",
        **data,
    )
