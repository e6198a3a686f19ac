"""PPO and SAC with their buffers and networks; knows vector environments, not racing."""
