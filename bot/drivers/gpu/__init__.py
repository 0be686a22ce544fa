"""What GPUs say of themselves and who holds them: NVIDIA by NVML, AMD by sysfs."""
