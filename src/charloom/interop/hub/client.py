"""Push models to the Hugging Face Hub and pull them, with ``huggingface_hub``.

A model is a repository there that holds ``model.safetensors``. What comes from there is hostile until it is checked:
no more is read than was announced, and that may not be much; it never lies on the disk before it has been verified.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from charloom._util.extras import require_extra
from charloom._version import __version__
from charloom.errors import HubError, InputError
from charloom.interop.hub.errors import LOGIN, translate_errors
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
