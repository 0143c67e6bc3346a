"""What each problem `code` means. Codes are part of the interface: they are added, never renamed."""

from __future__ import annotations

from django.http import Http404, HttpRequest, JsonResponse

CATALOGUE: dict[str, tuple[int, str]] = {
    "invalid": (400, "A value is not acceptable; `errors` names each field."),
    "bad_request": (400, "The request is malformed."),
    "malformed_body": (400, "The body is not one JSON object in UTF-8."),
    "malformed_header": (400, "A header cannot be read; `errors` names it."),
    "duplicate_key": (400, "A key occurs twice in a JSON object."),
    "nul_byte": (400, "A text contains a NUL byte."),
    "invalid_unicode": (400, "A text is not valid Unicode."),
    "unknown_parameter": (400, "The query has a parameter that is not known here."),
    "duplicate_parameter": (400, "A query parameter is given twice."),
    "invalid_cursor": (400, "The cursor is not one that this list has given out."),
    "not_authenticated": (401, "No credentials were sent."),
    "invalid_api_key": (401, "The API key is unknown, expired or revoked."),
    "forbidden": (403, "The caller may not do this."),
    "insufficient_scope": (403, "The API key lacks the scope."),
    "csrf_failed": (403, "A write with the admin's session needs its CSRF token."),
    "append_only": (403, "The audit log cannot be changed."),
    "not_found": (404, "There is no such object."),
    "method_not_allowed": (405, "The resource has no such method; `Allow` lists those it has."),
    "not_acceptable": (406, "The answer is JSON, which the caller does not accept."),
    "conflict": (409, "Somebody else changed this at the same time."),
    "slug_taken": (409, "Another tenant has this slug."),
    "wrong_state": (409, "The tenant's state does not allow this."),
    "state_changed": (409, "The tenant's state changed while this was being done."),
    "operation_in_progress": (409, "Another operation on this tenant is open; `operation` is its id."),
    "operation_not_cancellable": (409, "The operation is over, or cannot be cancelled."),
    "operation_not_retryable": (409, "Only failed and cancelled operations can be tried again."),
    "already_revoked": (409, "The API key was revoked before."),
    "name_taken": (409, "Another object has this name."),
    "cluster_known": (409, "The database is registered already."),
    "pooler_known": (409, "The cluster has a pooler already."),
    "pooler_down": (409, "The pooler does not work, and it would be the tenants' only door."),
    "guard_missing": (409, "The cluster has no guard that watches what a migrator does."),
    "migrator_open": (409, "A migrator of this tenant is open already."),
    "no_migrator": (409, "No migrator of this tenant is open."),
    "not_enrolled": (409, "The account has no second factor."),
    "cluster_disabled": (409, "The cluster takes no new tenants."),
    "cluster_dedicated": (409, "The cluster is one tenant's own, or reserved for one."),
    "cluster_inhabited": (409, "Somebody lives on the cluster: it cannot be reserved for one, or opened to all."),
    "no_free_cluster": (409, "No cluster that is reserved for one tenant is free."),
    "follows_host": (409, "A tenant's own database is as the cluster on whose server it is."),
    "tier_differs": (409, "The plan is of another isolation tier, and a tenant does not move."),
    "plan_in_use": (409, "The plan has tenants, so its isolation tier cannot be changed."),
    "overlap_running": (409, "An earlier rotation's overlap is not over."),
    "grace_period": (409, "The grace period is not over."),
    "audit_log_broken": (409, "The audit log is not what was signed; `verify_audit_log` says where."),
    "time_out_of_range": (409, "The time is not among those that can be recovered."),
    "point_in_time_unavailable": (409, "The cluster has no WAL archive, or nothing here can read it."),
    "no_backup_login": (409, "The cluster has no login that may read all tenants' rows."),
    "no_storage": (409, "There is no storage that takes backups."),
    "storage_locked": (409, "A retention lock forbids deleting this yet."),
    "schema_changed": (409, "The schema was changed while its backup began."),
    "backup_gone": (409, "The backup is not in the registry any more."),
    "kept_schema": (409, "What an earlier restore replaced is still kept: confirm that restore, or undo it."),
    "rows_refused": (409, "A foreign key or another constraint forbids replacing the rows of these tables alone."),
    "drill_gone": (409, "The drill, or the cluster it is held on, is gone."),
    "kept_gone": (409, "What a restore has set aside is there no more."),
    "restore_changed": (409, "The restored schema was changed before it was put in place."),
    "server_older": (409, "The backup is of a newer PostgreSQL than the cluster."),
    "no_copy": (409, "There is no whole copy of the backup."),
    "policy_exists": (409, "The plan has a policy for backups already."),
    "alert_not_firing": (409, "Only an alert that fires can be acknowledged."),
    "alert_over": (409, "The alert is over."),
    "not_shipped": (409, "The rule does not come with the product, so there is nothing to reset it to."),
    "purge_begun": (409, "The purge has begun; it cannot be taken back."),
    "too_many_credentials": (409, "The tenant has as many additional logins as it may have."),
    "no_login": (409, "The tenant has no login that could be used."),
    "not_finished": (409, "The operation is not finished."),
    "idempotency_in_flight": (409, "A request with this Idempotency-Key is being carried out."),
    "cancelled": (409, "The operation was cancelled."),
    "lease_lost": (409, "Another worker has taken the operation over."),
    "already_collected": (410, "The credentials were handed out already."),
    "length_required": (411, "A body needs a Content-Length."),
    "stale": (412, "The object has changed since it was read."),
    "body_too_large": (413, "The body has more than 1 MiB."),
    "uri_too_long": (414, "The URL is too long."),
    "unsupported_media_type": (415, "The body must be application/json."),
    "idempotency_key_reused": (422, "The Idempotency-Key was used for another request."),
    "address_refused": (422, "Messages are not sent there: the address is private and not listed, or not https."),
    "cluster_unusable": (422, "The PostgreSQL cluster does not meet the requirements."),
    "template_refused": (422, "The template cannot be cloned exactly."),
    "backup_damaged": (422, "A file of the backup is not what was written."),
    "backup_key_missing": (422, "The key that the backup was encrypted with is not configured."),
    "backup_not_covered": (422, "The schema holds something that a backup would lose."),
    "lock_unsupported": (422, "The storage cannot lock objects against deletion."),
    "confirmation_required": (403, "Show in the admin that it is you: your password, within the last five minutes."),
    "own_request": (403, "Somebody else has to approve what you asked for."),
    "approval_pending": (409, "A purge of this tenant waits for approval already; `purge_request` is its id."),
    "already_decided": (409, "The request was approved or rejected, or has expired."),
    "second_factor_required": (403, "Your account must set up a second factor in the admin first."),
    "tenant_bound_key": (403, "The API key is bound to one tenant and cannot ask this."),
    "throttled": (429, "Too many requests; `Retry-After` says when to come again."),
    "headers_too_large": (431, "The headers are too large."),
    "internal_error": (500, "An error of ours; the request id leads to it in the log."),
    "secret_unreadable": (500, "A stored secret cannot be decrypted with the configured keys."),
    "program_missing": (500, "A program that is needed is not installed on the server."),
    "backup_error": (500, "The backup could not be made or used."),
    "retention_stopped": (500, "Retention would have removed what a policy promises to keep."),
    "restore_mismatch": (500, "What was restored is not what the backup holds."),
    "clone_mismatch": (500, "The new schema differs from its template."),
    "cluster_error": (502, "The PostgreSQL cluster refused a statement."),
    "delivery_failed": (502, "The message could not be delivered."),
    "storage_error": (502, "The storage could not be written or read."),
    "storage_denied": (502, "The storage's access key may not do this."),
    "storage_missing": (502, "The storage's bucket does not exist."),
    "not_stored": (404, "The storage has no such object."),
    "storage_full": (507, "The storage is full."),
    "cluster_unavailable": (503, "The PostgreSQL cluster cannot be reached."),
    "cluster_busy": (503, "The PostgreSQL cluster did not answer in time."),
    "database_unavailable": (503, "The registry's database does not answer."),
}


def type_of(code: str) -> str:
    """The `type` of problems with this code: a path on this server, which explains it."""
    return f"/problems/{code}"


def title_of(code: str) -> str:
    """A short title, always the same for a code."""
    return code.replace("_", " ").capitalize() if code in CATALOGUE else ""


def explain(request: HttpRequest, code: str | None = None) -> JsonResponse:
    """What a problem's `type` leads to: its meaning. Without a code, all of them. Raises Http404."""
    if code is not None and code not in CATALOGUE:
        raise Http404
    codes = [code] if code else list(CATALOGUE)
    pages = [
        {"type": type_of(name), "title": title_of(name), "status": CATALOGUE[name][0], "meaning": CATALOGUE[name][1]}
        for name in codes
    ]
    return JsonResponse(pages[0] if code else {"problems": pages})
