"""The credentials chain: the vendor's providers, with our reading of their files and our transport.

sources.py      the sources in the vendor's order, and one profile by its name
files.py        ~/.aliyun/config.json and credentials.ini, as editors write them
helper.py       the helper of a profile of mode External
transport.py    calls to STS, OAuth, CloudSSO, a credentials URI and the metadata service
"""
