variable "project" {
  description = "Name of the stack, launcher.stack"
  type        = string
  default     = "racing"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}$", var.project))
    error_message = "Must be 2 to 21 of a-z, 0-9 and -, a letter first."
  }
}

variable "region" {
  description = "Where jobs run, such as eu-central-1"
  type        = string
}

variable "bucket" {
  description = "Where jobs write; null: PROJECT-ACCOUNT-REGION"
  type        = string
  default     = null
}

variable "vpc_id" {
  description = "Network of the instances"
  type        = string
}

variable "subnet_ids" {
  description = "Its subnets that reach the internet; the more, the sooner there is a spot instance"
  type        = list(string)
}

variable "image_id" {
  description = "An AMI with Ubuntu or Amazon Linux, for GPUs with NVIDIA's driver"
  type        = string
}

variable "root_device" {
  description = "/dev/sda1 of Ubuntu, /dev/xvda of Amazon Linux"
  type        = string
  default     = "/dev/sda1"
}

variable "volume_size_gib" {
  description = "Disk of an instance, at least as large as the image's"
  type        = number
  default     = 75

  validation {
    condition     = var.volume_size_gib >= 20 && var.volume_size_gib <= 1000
    error_message = "Must be 20 to 1000."
  }
}
