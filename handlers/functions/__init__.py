"""Entry points of the Lambda functions; none imports another."""
