"""What an answer of S3 tells of one object, of the place it lies in, or of whoever asks."""

from __future__ import annotations

import pytest
from botocore import exceptions as aws

from aws.attempts import Broken, TookTooLong
from aws.explain import symptom
from manifests.blame import Symptom

MISSING, DENIED, MALFORMED, OUTAGE = Symptom.MISSING, Symptom.DENIED, Symptom.MALFORMED, Symptom.OUTAGE


@pytest.mark.parametrize(
    ("status", "code", "sign"),
    [
        (404, "NoSuchKey", MISSING),
        (404, "404", MISSING),
        (403, "AccessDenied", DENIED),
        (403, "403", DENIED),
        (400, "400", DENIED),
        (400, "InvalidRequest", DENIED),
        (403, "InvalidObjectState", MALFORMED),
        (400, "KeyTooLongError", MALFORMED),
        (400, "InvalidBucketName", MALFORMED),
        (404, "NoSuchBucket", OUTAGE),
        (301, "PermanentRedirect", OUTAGE),
        (400, "ExpiredToken", OUTAGE),
        (400, "InvalidToken", OUTAGE),
        (403, "InvalidAccessKeyId", OUTAGE),
        (403, "SignatureDoesNotMatch", OUTAGE),
        (403, "RequestTimeTooSkewed", OUTAGE),
        (403, "AccountProblem", OUTAGE),
        (429, "TooManyRequests", OUTAGE),
        (500, "InternalError", OUTAGE),
        (503, "SlowDown", OUTAGE),
        (504, "Whatever", OUTAGE),
    ],
)
def test_an_answer_is_a_symptom(status: int, code: str, sign: Symptom) -> None:
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    assert symptom(aws.ClientError(answer, "GetObject")) is sign  # type: ignore[arg-type]  # as a server has it


@pytest.mark.parametrize(
    ("error", "sign"),
    [
        (aws.EndpointConnectionError(endpoint_url="http://x"), OUTAGE),
        (aws.ReadTimeoutError(endpoint_url="http://x"), OUTAGE),
        (aws.NoCredentialsError(), OUTAGE),
        (aws.CredentialRetrievalError(provider="x", error_msg="y"), OUTAGE),
        (Broken("cut"), OUTAGE),
        (TookTooLong("slow"), OUTAGE),
        (aws.ParamValidationError(report="Invalid bucket name"), MALFORMED),
    ],
)
def test_no_answer_is_an_outage_unless_nothing_was_asked(error: Exception, sign: Symptom) -> None:
    assert symptom(error) is sign
