"""The API door: bearer authentication, tenant binding, receipts, idempotent writes. Views parse, call and answer."""

from __future__ import annotations

import contextlib
import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar

from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, OperationalError, transaction
from django.utils import timezone
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.response import Response
from rest_framework.views import APIView

from byok_portal import errors
from byok_portal.boundary import binding, operations, problems, replica
from byok_portal.boundary.authentication import BearerAuthentication
from byok_portal.boundary.identifiers import parse_id
from byok_portal.boundary.models import IdempotencyRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import QuerySet
    from rest_framework.request import Request

    from byok_portal.boundary.actors import Actor
    from byok_portal.boundary.directory import Bearer
    from byok_portal.boundary.permissions import Permission

P = ParamSpec("P")
R = TypeVar("R")
MAX_IDEMPOTENCY_KEY = 200
MAX_PAGE = 200
KEPT = timedelta(hours=24)
"""How long an answer is kept for a repeat."""
LOST = timedelta(minutes=5)
"""A write that has not settled by then died with its process; a repeat runs anew."""


class Pages(CursorPagination):
    """Keyset pages, newest first."""

    ordering: tuple[str, ...] = ("-created_at", "-id")
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = MAX_PAGE

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        """Raises InvalidInput for a cursor that was made up: it may hold a value of any type."""
        try:
            with transaction.atomic(using=binding.get_alias()):
                return super().paginate_queryset(queryset, request, view)
        except (NotFound, ValueError, TypeError, ValidationError, DataError):
            raise errors.InvalidInput("cursor is not one of ours.", code="invalid_cursor", field="cursor") from None

    def get_page_size(self, request: Request) -> int:
        """Raises InvalidInput for anything but 1 to 200."""
        text = request.query_params.get("page_size", "50")
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_PAGE):
            rule = f"page_size is a whole number from 1 to {MAX_PAGE}."
            raise errors.InvalidInput(rule, code="out_of_range", field="page_size")
        return int(text)


class PortalView(APIView):
    """Base of every API view. `reads` is the permission of safe methods; operations check writes themselves."""

    authentication_classes = (BearerAuthentication,)
    permission_classes = ()
    reads: ClassVar[Permission | None] = None
    reads_in_transaction: ClassVar[bool] = True
    may_lag: ClassVar[bool] = False
    """Whether GET may be answered from the replica: it only reads, and nothing is decided by what it says."""
    stores_answer: ClassVar[bool] = True
    bearer: Bearer
    _lost_replica: bool = False

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Bind the token's tenant for the whole call, and answer with the receipt of what was recorded."""
        try:
            return self._answer(request, *args, **kwargs)
        except replica.ReplicaLostError:
            self._lost_replica = True
            return self._answer(request, *args, **kwargs)

    def _answer(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        with contextlib.ExitStack() as self._stack, operations.receipts() as receipts:
            response: Response = super().dispatch(request, *args, **kwargs)  # type: ignore[assignment]
        response["Cache-Control"] = "no-store"
        if receipts and "Audit-Id" not in response:
            response["Audit-Id"] = str(receipts[-1])
        return response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.bearer = request.auth  # type: ignore[assignment]
        reference = kwargs.get("tenant")
        if reference is not None and not self._is_own(reference):
            raise errors.NotFound
        self._stack.enter_context(binding.bind_tenant(self.bearer.tenant_id))
        if request.method in {"GET", "HEAD", "OPTIONS"}:
            self._require(self.reads)
            if self.reads_in_transaction:
                if self.may_lag and not self._lost_replica:
                    self._stack.enter_context(binding.use_alias(replica.choose()))
                self._stack.enter_context(binding.reading())

    def handle_exception(self, exc: Exception) -> Response:
        """Raises ReplicaLostError where asking the primary helps."""
        is_lost = isinstance(exc, OperationalError) or problems.is_database_away(exc)
        if is_lost and binding.get_alias() == binding.REPLICA:
            replica.leave(exc)
            raise replica.ReplicaLostError from exc
        return super().handle_exception(exc)

    @property
    def actor(self) -> Actor:
        """The consumer that calls."""
        return self.bearer.actor

    def read(self, select: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a selector in a transaction of its own, before an operation opens its."""
        with binding.reading():
            return select(*args, **kwargs)

    def once(self, call: Callable[[], Response]) -> Response:
        """Run a write once per `Idempotency-Key`: a repeat gets the first answer, another body a conflict."""
        key = self.request.META.get("HTTP_IDEMPOTENCY_KEY", "")
        if not key:
            return call()
        if len(key) > MAX_IDEMPOTENCY_KEY or not key.isprintable():
            rule = f"Idempotency-Key has at most {MAX_IDEMPOTENCY_KEY} printable characters."
            raise errors.InvalidInput(rule, code="invalid_idempotency_key", field="Idempotency-Key")
        return self._once(key, call)

    def _once(self, key: str, call: Callable[[], Response]) -> Response:
        digest = self._request_digest()
        try:
            with transaction.atomic():
                self._records(created_at__lt=timezone.now() - KEPT).delete()
                self._records(idempotency_key=key, status=None, created_at__lt=timezone.now() - LOST).delete()
                # By token, not by consumer: one that lacks the scope must not get the answer of one that has it.
                record = IdempotencyRecord.objects.create(
                    tenant_id=self.bearer.tenant_id,
                    caller_id=self.bearer.token_id,
                    idempotency_key=key,
                    request_digest=digest,
                )
        except IntegrityError:
            return self._replay(key, digest)
        try:
            response = call()
        except BaseException:
            # Nothing was done, so the key is free again for a corrected request.
            with transaction.atomic():
                IdempotencyRecord.objects.filter(tenant_id=self.bearer.tenant_id, id=record.id).delete()
            raise
        with transaction.atomic():
            record.status = response.status_code
            record.body = response.data if self.stores_answer else None
            record.save(update_fields=["status", "body"])
        return response

    def _replay(self, key: str, digest: bytes) -> Response:
        with transaction.atomic():
            record = self._records(idempotency_key=key).first()
        if record is None or record.status is None:
            raise errors.Conflict("The first request with this Idempotency-Key is still running.", code="in_progress")
        if bytes(record.request_digest) != digest:
            raise errors.Conflict("This Idempotency-Key was used for another request.", code="idempotency_mismatch")
        if record.body is None:
            message = "This was done already. Its answer showed a secret once and is not kept."
            raise errors.Conflict(message, code="already_done")
        return Response(record.body, status=record.status, headers={"Idempotent-Replay": "true"})

    def _records(self, **filters: Any) -> QuerySet[IdempotencyRecord]:
        rows = IdempotencyRecord.objects.filter(tenant_id=self.bearer.tenant_id, caller_id=self.bearer.token_id)
        return rows.filter(**filters)

    def _request_digest(self) -> bytes:
        request = self.request
        parts = (str(request.method).encode(), request.path.encode(), request._request.body)  # noqa: SLF001  # the raw bytes, which DRF does not give
        return hashlib.sha256(b"\0".join(parts)).digest()

    def _is_own(self, reference: str) -> bool:
        return reference == self.bearer.tenant_slug or parse_id(reference) == self.bearer.tenant_id

    def _require(self, permission: Permission | None) -> None:
        if permission is not None and not self.actor.permits(permission, self.bearer.tenant_id):
            message = f"This token does not have the scope {permission.value}."
            raise errors.Forbidden(message)


def paginate(view: PortalView, queryset: Any, serializer: Any) -> Response:
    """One page of a list with its cursor links."""
    pages = Pages()
    rows: Any = pages.paginate_queryset(queryset, view.request, view=view)
    return pages.get_paginated_response(serializer(rows, many=True).data)
