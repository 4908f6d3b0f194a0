"""The CDK app: everything of the picture in docs/architecture.md as one CloudFormation stack."""
