"""The stand-in of the Hub as a fixture, and a model to send there."""

import pytest

from charloom.model.file.model_file import save_model
from charloom.planning.settings import Settings
from conftest import tiny_saved
from hub_stub import TOKEN, HubStub, serving

FACTS = {
    "corpus": "letters", "corpus_characters": 12345, "recipe": "auto", "settings": Settings().to_dict(),
    "train_loss": 1.1, "val_loss": 1.25, "charloom_version": "0.1.0",
}  # fmt: skip


@pytest.fixture
def there(tmp_path, monkeypatch):
    """The stand-in in place of the Hub, a token in the environment, and nothing of this person's own settings."""
    import huggingface_hub
    from huggingface_hub import constants

    with serving(HubStub()) as stub:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "ENDPOINT", stub.hub)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", stub.hub + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
        yield stub
        huggingface_hub.close_session()


@pytest.fixture
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "letters.safetensors"
    save_model(path, tiny_saved(**FACTS))
    return path
