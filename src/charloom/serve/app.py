"""The ASGI application: routes, wrapped in the security middleware."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from charloom.inference.model import Model
from charloom.serve import text_routes
from charloom.serve.completions.routes import complete
from charloom.serve.errors import ERRORS, ApiError, error_response
from charloom.serve.metrics import MEDIA_TYPE, metrics_text
from charloom.serve.models import ModelRegistry
from charloom.serve.openapi import openapi_document
from charloom.serve.responses import JsonResponse
from charloom.serve.security.allowed_hosts import AllowedHosts
from charloom.serve.security.limits import Limits
from charloom.serve.security.middleware import SecurityMiddleware
from charloom.web.playground import playground_files


class App:
    """The ASGI application.

    Args:
        models: Models by their name in requests, at least one.
        hosts: Accepted values of the Host header.
        version: The version of charloom.
        token: Bearer token that requests must send, except for the web page; None disables authentication.
        limits: Request limits; the defaults if None.
        precision: Precision of generation; see ``Model.pieces``.
        origins: Origins of other sites whose pages may send requests.
        log: Whether to write a line for each request to stderr.

    Attributes:
        models: The models.
        limits: The request limits.
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
        origins: Collection[str] = (),
        log: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        self.models = ModelRegistry(models, precision, self.limits)
        files = playground_files()
        self._openapi_document = openapi_document(version, token is not None)
        routes = [
            *self._routes(),
            *(Route(path, partial(_file, *file), include_in_schema=False) for path, file in files.items()),
        ]
        routed = Starlette(
            routes=routes, exception_handlers=dict.fromkeys(ERRORS, error_response), lifespan=self._lifespan
        )
        routed.router.redirect_slashes = False
        self._middleware = SecurityMiddleware(
            routed, hosts=hosts, token=token, open_paths=files, limits=self.limits, origins=origins, log=log
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        await self._middleware(scope, receive, send)

    def close(self) -> None:
        """Fail all requests in progress. Streams send an error event and end."""
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
            Route("/v1/chat/completions", _chat, methods=["GET", "POST"], include_in_schema=False),
            Route("/tokenizer_info", partial(text_routes.tokenizer_info, models)),
            Route("/tokenize", partial(text_routes.tokenize, models, limits), methods=["POST"]),
            Route("/detokenize", partial(text_routes.detokenize, models), methods=["POST"]),
            Route("/score", partial(text_routes.score, models), methods=["POST"]),
            Route("/guesses", partial(text_routes.guesses, models), methods=["POST"]),
            Route("/generate", partial(text_routes.sentences, models, limits)),
            Route("/healthz", _health),
            Route("/metrics", self._metrics),
            Route("/openapi.json", self._openapi),
        ]

    async def _models(self, _request: Request) -> Response:
        return JsonResponse({"object": "list", "data": [served.entry() for served in self.models]})

    async def _model(self, request: Request) -> Response:
        return JsonResponse(self.models.find(request.path_params["id"]).entry())

    async def _metrics(self, _request: Request) -> Response:
        return Response(metrics_text(self.models, self._middleware), media_type=MEDIA_TYPE)

    async def _openapi(self, _request: Request) -> Response:
        return JsonResponse(self._openapi_document)


async def _health(_request: Request) -> Response:
    return JsonResponse({"status": "ok"})


async def _chat(_request: Request) -> Response:
    message = "Chat completions are not supported: the models continue a text. Use /v1/completions with a prompt."
    raise ApiError(404, message, code="unknown_url")


async def _file(media_type: str, content: bytes, _request: Request) -> Response:
    return Response(content, media_type=media_type)
