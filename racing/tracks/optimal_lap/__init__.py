"""The optimal lap: the least lap time that the simulator's own physics allow, by optimal control (extra `limit`)."""
