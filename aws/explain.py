"""What S3 refuses, in words with the remedy, and whose fault it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore import exceptions as aws

from aws.attempts import MISSING, Broken, TookTooLong, error_code, may_pass
from aws.settings import S3Config
from manifests.blame import Symptom
from manifests.errors import PagefleetError

BAD_CREDENTIALS = frozenset(
    (
        *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "ExpiredTokenException"),
        *("InvalidToken", "InvalidClientTokenId", "TokenRefreshRequired", "UnrecognizedClientException"),
    )
)
_DENIED = frozenset({"AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden", "403"})
_ELSEWHERE = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
_EXPIRED = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "TokenRefreshRequired",
        "RequestTimeTooSkewed",
        "RequestExpired",
    }
)
_OF_THE_PLACE = _ELSEWHERE | _EXPIRED | {"NoSuchBucket", "AccountProblem", "AllAccessDisabled"}
"""Refusals that tell of the bucket, the account or this machine, whatever was asked for."""
_MALFORMED = frozenset(
    {"InvalidObjectState", "KeyTooLongError", "InvalidBucketName", "InvalidURI", "MethodNotAllowed"}
)
"""Refusals that tell of one object: archived, deleted by a marker, or an address that no server takes."""
_AGAIN = "run the same command again; nothing stored is lost"

_NO_CREDENTIALS = (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError)
_NO_LOGIN = (aws.SSOError, aws.TokenRetrievalError, aws.NoAuthTokenError)
_USAGE = (aws.ProfileNotFound, aws.NoCredentialsError, aws.PartialCredentialsError, aws.ParamValidationError)
S3_ERRORS = (aws.ClientError, aws.BotoCoreError, Broken, TookTooLong)
_UNREACHABLE = (aws.EndpointConnectionError, aws.ConnectTimeoutError, aws.ProxyConnectionError)


@contextmanager
def explained(
    kind: type[PagefleetError], uri: str, config: S3Config, outage: type[PagefleetError] | None = None
) -> Iterator[None]:
    """Raise ``kind``, with ``uri`` and the remedy in words, for all that botocore and ``read`` raise.

    With ``outage`` that one is raised for what may be over without anything being corrected.
    """
    try:
        yield
    except S3_ERRORS as error:
        kind = outage if outage and _may_be_over_later(error) else kind
        raise kind(f"{uri}: {explanation(error, config)}") from error


def symptom(error: Exception) -> Symptom:
    """What asking for one object came to, going by the error."""
    if isinstance(error, aws.ParamValidationError):
        return Symptom.MALFORMED
    if not isinstance(error, aws.ClientError) or may_pass(error):
        return Symptom.OUTAGE
    code = error_code(error)
    if code in MISSING:
        return Symptom.MISSING
    if code in _MALFORMED:
        return Symptom.MALFORMED
    if code in _OF_THE_PLACE or code in BAD_CREDENTIALS:
        return Symptom.OUTAGE
    return Symptom.DENIED  # AccessDenied, and whatever else a server may refuse a single object with


def _may_be_over_later(error: Exception) -> bool:
    if isinstance(error, aws.ClientError):
        return may_pass(error) or error_code(error) in _EXPIRED
    return not isinstance(error, _USAGE)


def explanation(error: Exception, config: S3Config, then: str = _AGAIN) -> str:
    """What happened and what to do, without the address; ``then`` ends what is no matter of correction."""
    if isinstance(error, aws.ClientError):
        return _refusal(error, config, then)
    if isinstance(error, aws.ProfileNotFound):
        return f"{error}: correct the profile or add it to ~/.aws/config"
    if isinstance(error, _NO_CREDENTIALS):
        return f"{error}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or an instance role"
    if isinstance(error, _NO_LOGIN):
        return f"{error}: log in again with 'aws sso login'"
    if isinstance(error, _UNREACHABLE):
        return f"cannot reach S3 ({error}): check endpoint_url, region and the network, then {then}"
    if isinstance(error, aws.ParamValidationError):
        return f"S3 does not allow this address: {' '.join(str(error).split())}"
    if isinstance(error, TookTooLong):
        return f"S3 is too slow: {error}: {then}"
    return f"S3 does not answer as it should after {config.max_attempts} attempts ({error}): {then}"


def _refusal(error: aws.ClientError, config: S3Config, then: str) -> str:
    code, message = error_code(error), error.response.get("Error", {}).get("Message", "")
    if code in BAD_CREDENTIALS:
        who = f"the profile {config.profile!r}" if config.profile else "AWS_ACCESS_KEY_ID and its secret"
        return f"S3 refuses the credentials ({code}): correct or renew {who}"
    if code in _DENIED:
        return (
            f"access denied ({code}): allow s3:GetObject and s3:ListBucket here, for an output"
            " s3:PutObject and s3:DeleteObject too; without s3:ListBucket a missing object reads like this"
        )
    if code == "NoSuchBucket":
        return "no such bucket: correct its name, or create it with 'aws s3 mb'"
    if code in MISSING:
        return "no such object: correct its address"
    if code in _ELSEWHERE:
        return f"the bucket is in another region ({message}): set region"
    if code == "RequestTimeTooSkewed":
        return "this machine's clock is wrong: set it"
    if code == "NotImplemented":
        return (
            "this server does not do what is asked, such as conditional writes (If-None-Match, If-Match), "
            "which an output needs: choose another place for the output"
        )
    if code == "InvalidObjectState":
        return "the object is archived: restore it with 'aws s3api restore-object' first"
    if code == "KeyTooLongError":
        return "the name is longer than S3 allows: shorten the document's id or the output's prefix"
    if may_pass(error):
        return f"S3 still answers {code} after {config.max_attempts} attempts: {then}"
    return f"S3 refuses with {code}: {message or 'no reason given'}"
