"""The server as one ASGI application: its routes, and what stands before them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from charloom.inference.model import Model
from charloom.serve import text_routes as texts
from charloom.serve.completions.routes import complete
from charloom.serve.errors import ERRORS, ApiError, error_response
from charloom.serve.metrics import MEDIA_TYPE, metrics_text
from charloom.serve.models import ModelRegistry
from charloom.serve.openapi import describe
from charloom.serve.responses import JsonResponse
from charloom.serve.security.allowed_hosts import AllowedHosts
from charloom.serve.security.limits import Limits
from charloom.serve.security.middleware import SecurityMiddleware
from charloom.web.playground import playground_files


class App:
    """Answers requests with some models.

    Args:
        models: By the name that requests call them, one at least.
        hosts: Under which names the server may be asked for.
        version: charloom's.
        token: What every request must bear, but those for the page; None if none must.
        limits: How much may be asked for; the defaults if None.
        precision: In which the models write; see ``Model.pieces``.

    Attributes:
        models: The models.
        limits: How much may be asked for.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        *,
        hosts: AllowedHosts,
        version: str,
        token: str | None = None,
        limits: Limits | None = None,
        precision: str = "auto",
    ) -> None:
        self.limits = limits or Limits()
        self.models = ModelRegistry(models, precision, self.limits)
        files = playground_files()
        self._description = describe(version, token is not None)
        routes = [*self._routes(), *(Route(path, partial(_file, *file)) for path, file in files.items())]
        inner = Starlette(
            routes=routes, exception_handlers=dict.fromkeys(ERRORS, error_response), lifespan=self._lifespan
        )
        inner.router.redirect_slashes = False
        self._guard = SecurityMiddleware(inner, hosts=hosts, token=token, open_paths=files, limits=self.limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._guard(scope, receive, send)

    def close(self) -> None:
        """End all that is written; streams tell it to their clients, and end."""
        self.models.close()

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        self.models.start()
        try:
            yield
        finally:
            self.models.close()

    def _routes(self) -> list[Route]:
        models, limits = self.models, self.limits
        return [
            Route("/v1/completions", partial(complete, models, limits), methods=["POST"]),
            Route("/v1/models", self._models),
            Route("/v1/models/{id}", self._model),
            Route("/v1/chat/completions", _chat, methods=["GET", "POST"]),
            Route("/tokenizer_info", partial(texts.tokenizer_info, models)),
            Route("/tokenize", partial(texts.tokenize, models, limits), methods=["POST"]),
            Route("/detokenize", partial(texts.detokenize, models), methods=["POST"]),
            Route("/score", partial(texts.score, models), methods=["POST"]),
            Route("/guesses", partial(texts.guesses, models), methods=["POST"]),
            Route("/generate", partial(texts.sentences, models, limits)),
            Route("/healthz", _health),
            Route("/metrics", self._metrics),
            Route("/openapi.json", self._openapi),
        ]

    async def _models(self, _request: Request) -> Response:
        return JsonResponse({"object": "list", "data": [one.entry() for one in self.models]})

    async def _model(self, request: Request) -> Response:
        return JsonResponse(self.models.find(request.path_params["id"]).entry())

    async def _metrics(self, _request: Request) -> Response:
        return Response(metrics_text(self.models, self._guard), media_type=MEDIA_TYPE)

    async def _openapi(self, _request: Request) -> Response:
        return JsonResponse(self._description)


async def _health(_request: Request) -> Response:
    return JsonResponse({"status": "ok"})


async def _chat(_request: Request) -> Response:
    message = "Models of charloom go on with a text, they do not chat. Use /v1/completions, with the text as prompt."
    raise ApiError(404, message, code="unknown_url")


async def _file(media_type: str, content: bytes, _request: Request) -> Response:
    return Response(content, media_type=media_type)
