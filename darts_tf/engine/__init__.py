"""What runs a task: the loop, its reports, its memory, its monitor; knows neither images nor texts."""
