"""What a new template permits beyond the deployed one."""

from typing import Any

import pytest

from cli.deploy.permission_diff import permission_diff

TOPIC = {"Fn::GetAtt": ["Topic", "Arn"]}


def statement(action: Any = "sns:Publish", resource: Any = TOPIC, effect: str = "Allow", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


def policy(*statements: dict[str, Any], role: str = "PublisherRole") -> dict[str, Any]:
    document = {"Statement": list(statements)}
    return {"Type": "AWS::IAM::Policy", "Properties": {"PolicyDocument": document, "Roles": [{"Ref": role}]}}


def inline(*statements: dict[str, Any], **more: Any) -> dict[str, Any]:
    policies = [{"PolicyName": "p", "PolicyDocument": {"Statement": list(statements)}}]
    return {"Type": "AWS::IAM::Role", "Properties": {"Policies": policies, **more}}


def method(**properties: Any) -> dict[str, Any]:
    base = {"HttpMethod": "POST", "ResourceId": {"Ref": "AddEventPath"}, "Integration": {"Type": "AWS_PROXY"}}
    return {"Type": "AWS::ApiGateway::Method", "Properties": {**base, **properties}}


def gained(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [str(each) for each in permission_diff({"Resources": before}, {"Resources": after})]


def test_equal_templates_grant_nothing() -> None:
    both = {"P": policy(statement()), "M": method(ApiKeyRequired=True)}
    assert gained(both, both) == []


def test_a_new_action_is_a_new_permission() -> None:
    assert gained({"P": policy(statement())}, {"P": policy(statement(["sns:Publish", "sns:Subscribe"]))}) == [
        "PublisherRole may sns:Subscribe on Topic.Arn"
    ]


def test_fewer_actions_are_none() -> None:
    assert gained({"P": policy(statement(["sns:Publish", "sns:Subscribe"]))}, {"P": policy(statement())}) == []


def test_the_same_statements_in_other_policies_are_none() -> None:
    before = {"P": policy(statement("a:A"), statement("b:B"))}
    after = {"Q": policy(statement("b:B")), "R": policy(statement("a:A"))}
    assert gained(before, after) == []


def test_a_policy_moved_into_its_role_is_none() -> None:
    assert gained({"P": policy(statement(), role="R")}, {"R": inline(statement())}) == []


def test_a_wider_resource_is_a_new_permission() -> None:
    assert gained({"P": policy(statement())}, {"P": policy(statement(resource="*"))}) == [
        "PublisherRole may sns:Publish on *"
    ]


def test_a_dropped_condition_is_a_new_permission() -> None:
    limited = statement(Condition={"Bool": {"aws:SecureTransport": "true"}})
    assert gained({"P": policy(limited)}, {"P": policy(statement())}) == ["PublisherRole may sns:Publish on Topic.Arn"]


def test_a_denial_that_goes_away_is_a_new_permission() -> None:
    before = {"PublisherRole": inline(), "P": policy(statement(effect="Deny"))}
    assert gained(before, {"PublisherRole": inline()}) == [
        "PublisherRole may sns:Publish, no longer denied, on Topic.Arn"
    ]


def test_a_denial_that_goes_with_its_role_is_none() -> None:
    assert gained({"P": policy(statement(effect="Deny"))}, {}) == []


def test_a_new_denial_is_none() -> None:
    assert gained({}, {"P": policy(statement(effect="Deny"))}) == []


def test_not_action_and_not_resource_are_grants() -> None:
    wide = {"Effect": "Allow", "NotAction": "iam:*", "NotResource": "arn:x"}
    assert gained({}, {"P": policy(wide)}) == ["PublisherRole may anything but iam:* on everything but arn:x"]


def test_a_managed_policy_is_a_new_permission() -> None:
    assert gained(
        {"R": inline()}, {"R": inline(ManagedPolicyArns=["arn:aws:iam::aws:policy/AdministratorAccess"])}
    ) == ["R may use all that the policy allows on arn:aws:iam::aws:policy/AdministratorAccess"]


def test_a_permissions_boundary_that_goes_away_is_a_new_permission() -> None:
    assert len(gained({"R": inline(PermissionsBoundary="arn:b")}, {"R": inline()})) == 1
    assert gained({"R": inline()}, {"R": inline(PermissionsBoundary="arn:b")}) == []


def test_who_may_assume_a_role_is_compared() -> None:
    def trusting(*services: str) -> dict[str, Any]:
        statements = [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": list(services)}}]
        return inline(AssumeRolePolicyDocument={"Statement": statements})

    lambda_, ec2 = "lambda.amazonaws.com", "ec2.amazonaws.com"
    assert gained({"R": trusting(lambda_)}, {"R": trusting(lambda_, ec2)}) == [f"{ec2} may sts:AssumeRole on R"]


def test_the_policy_of_a_table_is_read_wherever_it_is() -> None:
    open_ = {"Effect": "Allow", "Action": "dynamodb:GetItem", "Principal": {"AWS": "*"}, "Resource": "*"}
    policy = {"ResourcePolicy": {"PolicyDocument": {"Statement": open_}}}
    table = {"Type": "AWS::DynamoDB::Table", "Properties": policy}
    assert gained({}, {"T": table}) == ["* may dynamodb:GetItem on T (public)"]


def test_who_holds_a_policy_of_its_own_is_named_by_it() -> None:
    document = {"Statement": [statement()]}
    inline_policy = {
        "Type": "AWS::IAM::RolePolicy",
        "Properties": {"RoleName": {"Ref": "R"}, "PolicyDocument": document},
    }
    assert gained({}, {"P": inline_policy}) == ["R may sns:Publish on Topic.Arn"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"Ref": "T"}, "T"),
        ({"Fn::GetAtt": "T.Arn"}, "T.Arn"),
        ({"Fn::Sub": "arn:${T}"}, "arn:${T}"),
        ({"Fn::Sub": ["arn:${X}", {"X": "1"}]}, "arn:${X}"),
        ({"Fn::Join": ["", [{"Fn::GetAtt": ["T", "Arn"]}, "/*"]]}, "T.Arn/*"),
        ({"Fn::If": ["C", "a", "b"]}, '{"Fn::If":["C","a","b"]}'),
    ],
)
def test_values_are_shown_as_short_text(value: Any, text: str) -> None:
    assert gained({}, {"P": policy(statement(resource=value))}) == [f"PublisherRole may sns:Publish on {text}"]


@pytest.mark.parametrize(
    ("kind", "target"),
    [("AWS::SQS::QueuePolicy", "Queues"), ("AWS::SNS::TopicPolicy", "Topics"), ("AWS::S3::BucketPolicy", "Bucket")],
)
def test_a_resource_policy_that_opens_to_all_is_public(kind: str, target: str) -> None:
    open_ = {"Effect": "Allow", "Action": "x:Get", "Principal": "*", "Resource": "whatever"}
    resource = {
        "Type": kind,
        "Properties": {target: [{"Ref": "Thing"}], "PolicyDocument": {"Statement": [open_]}},
    }
    assert gained({}, {"P": resource}) == ["* may x:Get on Thing (public)"]


def test_a_function_permission_without_an_origin_is_public() -> None:
    def permission(**more: Any) -> dict[str, Any]:
        properties = {"Action": "lambda:InvokeFunction", "FunctionName": {"Ref": "F"}, **more}
        return {"Type": "AWS::Lambda::Permission", "Properties": properties}

    assert gained({}, {"P": permission(Principal="*")}) == ["* may lambda:InvokeFunction on F (public)"]
    assert gained({}, {"P": permission(Principal="sns.amazonaws.com", SourceArn="arn:t")}) == [
        "sns.amazonaws.com (from arn:t) may lambda:InvokeFunction on F"
    ]


def test_an_open_function_url_is_public() -> None:
    url = {"Type": "AWS::Lambda::Url", "Properties": {"AuthType": "NONE", "TargetFunctionArn": {"Ref": "F"}}}
    assert gained({}, {"U": url}) == ["anyone may call by URL on F (public)"]


def test_a_method_that_loses_its_key_is_public() -> None:
    assert gained({"M": method(ApiKeyRequired=True)}, {"M": method()}) == [
        "a caller without a signature may call on POST AddEventPath (public)",
        "a caller without an API key may call on POST AddEventPath (public)",
    ]


def test_a_method_that_loses_its_signature_is_a_new_permission_but_not_public() -> None:
    signed = method(ApiKeyRequired=True, AuthorizationType="AWS_IAM")
    assert gained({"M": signed}, {"M": method(ApiKeyRequired=True)}) == [
        "a caller without a signature may call on POST AddEventPath"
    ]
    assert gained({"M": method(ApiKeyRequired=True)}, {"M": signed}) == []


def test_a_preflight_is_none() -> None:
    assert gained({}, {"M": method(HttpMethod="OPTIONS", Integration={"Type": "MOCK"})}) == []


def test_public_ones_come_first() -> None:
    found = gained({}, {"A": policy(statement()), "M": method()})
    assert found[0].endswith("(public)")
