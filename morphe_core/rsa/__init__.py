"""The Resolution Scaling Accelerator of the paper's section 5."""
