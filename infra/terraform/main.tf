# What launcher=aws_spot needs in an account: the same as infra/cloudformation.yaml, and its bucket.
# The launcher reads a stack of CloudFormation, so this one leaves one that holds nothing but the outputs.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.40"
    }
  }
}

provider "aws" {
  region = var.region
}

data "aws_caller_identity" "me" {}

data "aws_partition" "here" {}

locals {
  account   = data.aws_caller_identity.me.account_id
  partition = data.aws_partition.here.partition
  bucket    = var.bucket != null ? var.bucket : "${var.project}-${local.account}-${var.region}"
  arn       = "arn:${local.partition}:s3:::${local.bucket}"
  tags      = { "racing:project" = var.project }
}

# The most that the role of any job may do. Each job's own role, made when it is submitted, may do less of it.
resource "aws_iam_policy" "boundary" {
  name = "${var.project}-job-boundary"
  path = "/racing/"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Bucket"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket"]
        Resource = [local.arn, "${local.arn}/*"]
      },
      {
        Sid      = "Runs"
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = "${local.arn}/runs/*"
      },
      {
        Sid    = "Secrets"
        Effect = "Allow"
        Action = ["ssm:GetParameter", "secretsmanager:GetSecretValue"]
        Resource = [
          "arn:${local.partition}:ssm:${var.region}:${local.account}:parameter/*",
          "arn:${local.partition}:secretsmanager:${var.region}:${local.account}:secret:*",
        ]
      },
      {
        Sid      = "EndGroup"
        Effect   = "Allow"
        Action   = ["autoscaling:SetDesiredCapacity"]
        Resource = "arn:${local.partition}:autoscaling:${var.region}:${local.account}:autoScalingGroup:*:autoScalingGroupName/${var.project}-*"
      },
    ]
  })
}

# Nothing comes in: no SSH, no open port. Out: S3, packages, a tracking server.
resource "aws_security_group" "job" {
  #checkov:skip=CKV_AWS_382:packages come from several servers, and a tracking server may listen on any port
  description = "racing - nothing comes in"
  vpc_id      = var.vpc_id
  tags        = local.tags

  egress {
    description = "packages and S3"
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_launch_template" "job" {
  name                                 = "${var.project}-job"
  image_id                             = var.image_id
  vpc_security_group_ids               = [aws_security_group.job.id]
  instance_initiated_shutdown_behavior = "terminate"

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = var.root_device

    ebs {
      volume_type           = "gp3"
      volume_size           = var.volume_size_gib
      encrypted             = true
      delete_on_termination = true
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags          = local.tags
  }

  tag_specifications {
    resource_type = "volume"
    tags          = local.tags
  }
}

# Where `racing` looks for all of it.
resource "aws_cloudformation_stack" "outputs" {
  #checkov:skip=CKV_AWS_124:it holds outputs only, nothing happens in it
  name = var.project
  tags = local.tags
  template_body = jsonencode({
    Description = "racing - the outputs of Terraform"
    Resources   = { Nothing = { Type = "AWS::CloudFormation::WaitConditionHandle" } }
    Outputs = {
      Bucket                = { Value = local.bucket }
      Subnets               = { Value = join(",", var.subnet_ids) }
      LaunchTemplate        = { Value = aws_launch_template.job.id }
      LaunchTemplateVersion = { Value = tostring(aws_launch_template.job.latest_version) }
      SecurityGroup         = { Value = aws_security_group.job.id }
      Boundary              = { Value = aws_iam_policy.boundary.arn }
    }
  })
}
