"""The rules of ECS and ALB as pure functions: values in, values out, `now` as an argument."""
