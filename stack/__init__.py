"""The CDK app: the whole architecture (docs/architecture.md) as one CloudFormation stack."""
